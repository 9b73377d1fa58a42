"""A scratch project: a copy of this checkout in a repository of its own, with small synthetic data and quick models."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
SMALL: dict[str, Any] = {
    "ingest": {"source": "synthetic", "synthetic": {"users": 150, "items": 80, "sessions": 8, "seed": 1}},
    "validate": {},
    "serve": {},
    "train": {
        "models": ["popularity", "ease"],
        "seed": 0,
        "device": "cpu",
        "early_stopping": {},
        "privacy": None,
        "popularity": {},
        "item_knn": {},
        "ease": {},
        "als": {"factors": 8, "iterations": 3},
        "sasrec": {"dim": 16, "layers": 1, "heads": 1, "epochs": 2, "max_length": 20},
    },
}


@dataclass
class Project:
    """A folder with a clone, and the ways a person would use it."""

    root: Path
    env: dict[str, str] = field(default_factory=dict)

    def run(self, *command: str, check: bool = True, timeout: float = 600) -> subprocess.CompletedProcess[str]:
        """Run a command in the project with this interpreter's programs first; its output is kept."""
        programs = str(Path(sys.executable).parent)
        path = os.pathsep.join([programs, os.environ["PATH"]])
        env = os.environ | {"PATH": path, "RECLOOP_DATABASE_URL": f"sqlite:///{self.root}/recloop.sqlite"} | self.env
        done = subprocess.run(
            command, cwd=self.root, env=env, text=True, capture_output=True, check=False, timeout=timeout
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done

    def recloop(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a `recloop` command."""
        return self.run("recloop", *words, check=check)

    def dvc(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a `dvc` command."""
        return self.run("dvc", *words, check=check)

    def params(self) -> dict[str, Any]:
        """The parameters as they are now."""
        return yaml.safe_load((self.root / "params.yaml").read_text(encoding="utf-8"))

    def change(self, values: Mapping[str, Any]) -> None:
        """Replace whole sections of `params.yaml`."""
        text = yaml.safe_dump(self.params() | dict(values), sort_keys=False)
        (self.root / "params.yaml").write_text(text, encoding="utf-8")

    def commit(self, message: str) -> None:
        """Commit all that git does not ignore."""
        self.run("git", "add", "-A")
        self.run("git", "-c", "user.name=test", "-c", "user.email=test@localhost", "commit", "-qm", message)


def make(folder: Path, values: Mapping[str, Any] | None = None) -> Project:
    """Copy the checkout's files, without anything that git ignores, to `folder` and commit them."""
    listed = subprocess.check_output(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, text=True).splitlines()
    for name in listed:
        if (ROOT / name).is_file() and name not in {"data.dvc", "dvc.lock"}:
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target)
    project = Project(folder)
    project.run("git", "init", "-q")
    project.change(SMALL if values is None else values)
    project.commit("start")
    return project
