"""DVC stages: each module reads parameters and files, calls the library, and writes files."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

from recloop.errors import RecloopError
from recloop.progress import busy

ERROR_FILE = "RECLOOP_ERROR_FILE"


def run(main: Callable[..., None]) -> None:
    """Call a stage with the words of the command line; an error of the caller ends it with one sentence and status 2.

    The sentence also goes to the file named by `RECLOOP_ERROR_FILE`, where whoever started the stage can read it.
    """
    try:
        with busy(" ".join([Path(sys.argv[0]).stem, *sys.argv[1:]])):
            main(*sys.argv[1:])
    except RecloopError as error:
        print(f"error: {error}", file=sys.stderr)
        if target := os.environ.get(ERROR_FILE):
            Path(target).write_text(str(error), encoding="utf-8")
        sys.exit(2)
