"""Options that several commands of the command line share."""

from pathlib import Path
from typing import Annotated

import typer

from recloop.errors import ConfigError

HERE = Path()


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise ConfigError(f"{path} is not a folder; name the project's folder with --root.")
    return path


Root = Annotated[Path, typer.Option(callback=_folder, help="The project's folder, where params.yaml and dvc.yaml lie.")]
