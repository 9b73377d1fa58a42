"""The project of one regime: a copy of the checkout in a repository of its own, with the crowd's past as its data."""

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from recloop.columns import EVENT, ITEM, TIME, USER, VALUE
from recloop.data.tables import Tables, write_parquet
from recloop.errors import ConfigError
from recloop.processes import environment

COPIED = (".dvc/.gitignore", ".dvc/config", ".dvcignore", ".gitignore", "bentofile.yaml", "dvc.yaml", "pyproject.toml")
FOLDERS = ("flows", "pipelines", "pretrained", "src")
PAST = "past"

TASTES: Mapping[str, Any] = {
    "validate": {},
    "split": {"strategy": "temporal", "valid_fraction": 0, "test_fraction": 0.02},
    "train": {
        "models": ["popularity", "als", "ease"],
        "seed": 0,
        "device": "cpu",
        "refit": True,
        "early_stopping": {"metric": "ndcg@10", "patience": 3},
        "privacy": None,
        "popularity": {"half_life_days": 2},
        "als": {},
        "ease": {"half_life_days": 4},
    },
    "evaluate": {},
    "gate": {"floors": {"slices": {"cold_users": 0.2}}},
    "drift": {"window_days": 2, "popularity_days": 10, "score_tolerance": 0.25},
    "serve": {},
    "monitor": {"min_new_events": 1_000_000, "cooldown_hours": 12},
}
"""Parameters for a crowd with known tastes. Only drift, unknown items and lost clicks lead to retraining there: with
enough new events for their own sake, noticing would be no feat. There is no floor for tail items: the newest items are
among them, and by that floor `popularity`, which follows what is new, would hold back all that does not."""


def make(root: Path, folder: Path, past: Tables, params: Mapping[str, Any]) -> Path:
    """Make the project in a new folder.

    Args:
        root: the checkout that it copies.
        folder: must not exist.
        past: the data to begin with.
        params: its `params.yaml`, but for `ingest`.

    Raises:
        ConfigError: the folder exists, or `root` lacks what a project needs.
    """
    if folder.exists():
        raise ConfigError(f"{folder} exists already; remove it or name another folder with --out.")
    missing = [name for name in (*COPIED, *FOLDERS) if not (root / name).exists()]
    if missing:
        raise ConfigError(f"{root} lacks {missing[0]}; run this in a checkout of recloop, or name one with --root.")
    folder.mkdir(parents=True)
    for name in COPIED:
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy2(root / name, folder / name)
    for name in FOLDERS:
        shutil.copytree(root / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    ingest = {"source": "files", "files": _write(past, folder / PAST)}
    text = yaml.safe_dump({"ingest": ingest, **params}, sort_keys=False)
    (folder / "params.yaml").write_text(text, encoding="utf-8")
    for words in (["init", "-q"], ["add", "-A"], [*_IDENTITY, "commit", "-qm", "The project of a simulation"]):
        subprocess.run(["git", *words], cwd=folder, env=environment(), check=True)  # noqa: S603, S607 - fixed words
    return folder


_IDENTITY = ("-c", "user.name=recloop", "-c", "user.email=recloop@localhost")


def _write(past: Tables, folder: Path) -> dict[str, Any]:
    """Write the tables; the options by which the source ``files`` reads them."""
    for name, frame in past.present().items():
        write_parquet(
            frame.select(USER, ITEM, TIME, EVENT, VALUE) if name == "interactions" else frame,
            folder / f"{name}.parquet",
        )
    return {name: f"{PAST}/{name}.parquet" for name in past.present()}
