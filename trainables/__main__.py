"""One recipe from a JSON file, alone or under torchrun: `torchrun -m trainables RECIPE.json FOLDER`."""

import json
import os
import sys
from pathlib import Path

import torch
from pydantic import ValidationError
from torch import distributed

from trainables.config import explain, imported
from trainables.printing import escape_output
from trainables.recipes.recipe import Recipe, with_needs
from trainables.run import LocalRun


def main(arguments: list[str]) -> int:
    """Run the recipe in FOLDER, after what it needs, and print its result as JSON; a second run resumes.

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
        result = train(read(Path(arguments[0])), Path(arguments[1]))
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


def train(recipe: Recipe, folder: Path) -> dict[str, float]:
    """Train the recipe in `folder`, and before it each of its needs that is not finished, in a folder of its own."""
    *needs, (signature, _) = with_needs(recipe).items()
    run = LocalRun(folder)
    run.claim(signature)
    for signature, need in needs:
        before = LocalRun(run.needs / signature, run.needs)
        before.claim(signature)
        if not before.finished:
            if run.leads:
                print(f"{recipe} starts from {need}, which is trained first, in {before.folder}.", file=sys.stderr)
            before.finish(need.run(before))
        if distributed.is_initialized():
            distributed.barrier()  # the first rank may still be writing what the others are about to read
    result = recipe.run(run)
    run.finish(result)
    return result


def read(file: Path) -> Recipe:
    """The recipe in a file such as a trial's `recipe.json`, which has its `type` beside its `fields`."""
    try:
        description = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"A recipe must be JSON, but {file} is not: {error}") from error
    if not isinstance(description, dict) or not {"type", "fields"} <= description.keys():
        raise ValueError(f"A recipe must have a `type` and `fields`, as a trial's recipe.json has, but {file} has not.")
    return imported(description["type"], Recipe, "type").model_validate(description["fields"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
