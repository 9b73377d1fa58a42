"""`requirements-serve.txt` is the lock of a Bento: complete, and one with the lock of the project."""

import re
from importlib.metadata import distribution, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.service import ROOT

ORCHESTRATION = {"dvc", "evidently", "great-expectations", "pandas", "prefect", "recloop"}


def pins(path: Path) -> dict[str, str]:
    lines = re.findall(r"^([\w.-]+)==(\S+)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {canonicalize_name(name): pinned for name, pinned in lines}


SERVE = pins(ROOT / "requirements-serve.txt")


def test_it_holds_what_serving_needs_and_nothing_of_the_rest() -> None:
    assert {"bentoml", "torch", "numpy", "polars", "sqlalchemy", "psycopg", "psycopg-binary"} <= SERVE.keys()
    assert not ORCHESTRATION & SERVE.keys()
    assert SERVE["torch"] == "2.13.0"


def test_every_version_is_that_of_the_project_lock() -> None:
    lock = pins(ROOT / "requirements.lock")
    assert {name: lock.get(name) for name in SERVE} == SERVE


@pytest.mark.parametrize("name", sorted(SERVE))
def test_every_need_of_a_listed_package_is_listed(name: str) -> None:
    assert version(name).partition("+")[0] == SERVE[name]
    needed = [Requirement(line) for line in distribution(name).requires or []]
    here = [need for need in needed if need.marker is None or need.marker.evaluate({"extra": ""})]
    cuda = ("nvidia-", "cuda-", "triton")
    missing = [
        need.name for need in here if canonicalize_name(need.name) not in SERVE and not need.name.startswith(cuda)
    ]
    assert not missing
