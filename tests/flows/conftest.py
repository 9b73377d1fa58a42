import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows import scratch
from tests.support.prefect_server import prefect_api  # noqa: F401 - a fixture


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scratch.make(tmp_path_factory.mktemp("scratch") / "pristine")


@pytest.fixture
def folder(pristine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A scratch project of this test's own, which flows take for theirs."""
    folder = tmp_path / "project"
    shutil.copytree(pristine, folder, symlinks=True)
    monkeypatch.setenv("RECLOOP_ROOT", str(folder))
    monkeypatch.delenv("RECLOOP_DATABASE_URL", raising=False)
    return folder


@pytest.fixture
def flowing(folder: Path, prefect_api: None) -> Path:  # noqa: F811
    """The scratch project, with a Prefect server."""
    return folder
