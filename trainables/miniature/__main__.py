"""The command `python -m trainables.miniature`."""

import argparse
import sys
from pathlib import Path

from trainables.cache import cache_folder
from trainables.miniature import build, build_books
from trainables.miniature.downloads import DownloadError
from trainables.printing import escape_output


def main(arguments: list[str] | None = None) -> int:
    """Build the miniature and say where it is."""
    escape_output()
    try:
        default = cache_folder()
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    parser = argparse.ArgumentParser(
        prog="python -m trainables.miniature",
        description="Build, once, a small corpus of real speech and two small pretrained models.",
    )
    parser.add_argument("--cache", type=Path, metavar="FOLDER", help=f"where to build (default: {default})")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--synthetic", action="store_true", help="synthetic speech instead of the real recordings")
    kind.add_argument(
        "--english", action="store_true", help="English speech as LibriSpeech and Libri-light lay it out, and models"
    )
    options = parser.parse_args(arguments)
    cache = options.cache.expanduser().absolute() if options.cache else default
    try:
        if options.english:
            miniature = build_books(cache, say=_say)
        else:
            miniature = build(cache, synthetic=options.synthetic, say=_say)
    except (DownloadError, OSError) as error:  # OSError: no space, no permission
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted; nothing half-made is left, and the next run goes on from here.", file=sys.stderr)
        return 130
    for name, folder in miniature._asdict().items():
        print(f"{name}: {folder}")
    return 0


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
