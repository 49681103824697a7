"""One recipe from a JSON file, alone or under torchrun: `torchrun -m trainables RECIPE.json FOLDER`."""

import json
import os
import sys
from pathlib import Path

import torch
from pydantic import ValidationError
from torch import distributed

from trainables.config import explain
from trainables.printing import escape_output
from trainables.recipes.distill_l2s import DistillL2S
from trainables.run import LocalRun


def main(arguments: list[str]) -> int:
    """Run the recipe in FOLDER and print its result as JSON; a second run resumes.

    A FOLDER of another recipe is refused: 2, as for whatever else is wrong with what was given.
    """
    escape_output()
    if len(arguments) != 2 or not Path(arguments[0]).is_file():
        print("usage: python -m trainables RECIPE.json FOLDER", file=sys.stderr)
        return 2
    together = int(os.environ.get("WORLD_SIZE", "1")) > 1
    if together:
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        recipe = _read(Path(arguments[0]))
        run = LocalRun(Path(arguments[1]))
        run.claim(recipe.signature())
        result = recipe.run(run)
    except ValidationError as error:
        print(explain(error), file=sys.stderr)
        return 2
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    finally:
        if together:
            distributed.destroy_process_group()
    if int(os.environ.get("RANK", "0")) == 0:
        print(json.dumps(result))
    return 0


def _read(file: Path) -> DistillL2S:
    """A trial's folder holds its recipe with its type beside the fields; the bare fields will do too."""
    try:
        description = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"A recipe must be JSON, but {file} is not: {error}") from error
    if not isinstance(description, dict):
        raise ValueError(f"A recipe must be fields and their values, but {file} is {description!r} instead.")
    return DistillL2S.model_validate(description.get("fields", description))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
