"""A Bento built from this checkout serves by itself, with its own requirements and nothing else."""

import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution, packages_distributions
from pathlib import Path

import httpx
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from recloop.serving.bundle import Bundle
from recloop.serving.recommender import Recommender
from tests.support.bundles import popularity_bundle, world
from tests.support.service import ROOT, serve

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a Bento is built from: the code, the bentofile and a bundle."""
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copytree(ROOT / "src/recloop", folder / "src/recloop", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("bentofile.yaml", "requirements-serve.txt"):
        shutil.copy(ROOT / name, folder)
    popularity_bundle(folder / "artifacts/bundle", world())
    return folder


@pytest.fixture(scope="module")
def home(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of Bentos that holds the one built here."""
    folder = tmp_path_factory.mktemp("bentoml")
    env = os.environ | {"BENTOML_HOME": str(folder), "BENTOML_DO_NOT_TRACK": "True"}
    build = [sys.executable, "-m", "bentoml", "build"]
    done = subprocess.run(build, cwd=checkout, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def python(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The interpreter of a new virtual environment with the Bento's own requirements and nothing else.

    The packages are links to the installed files of exactly these names and versions, so that the test needs neither
    network nor minutes; `test_requirements.py` checks that the list is complete. A folder that several distributions
    share, such as a namespace, is linked file by file.
    """
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, symlinks=True)
    site = next(folder.glob("lib/python3.*/site-packages"))
    requirements = next(home.glob("bentos/recloop/*/env/python/requirements.txt")).read_text()
    shared = {name for name, owners in packages_distributions().items() if len(set(owners)) > 1}
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)$", requirements, flags=re.MULTILINE))
    assert {name: distribution(name).version.partition("+")[0] for name in pins} == pins
    for installed in _with_needs(set(pins)):
        inside = [file for file in installed.files or [] if ".." not in file.parts]
        for file in {Path(*file.parts[: None if file.parts[0] in shared else 1]) for file in inside}:
            target = site / file
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists():
                target.symlink_to(str(installed.locate_file(file)))
    yield str(folder / "bin" / "python")
    shutil.rmtree(folder)


def _with_needs(names: set[str]) -> list[Distribution]:
    """These distributions and what they need here: with a CUDA build of torch, its CUDA packages too."""
    done: dict[str, Distribution] = {}
    while names:
        found = distribution(names.pop())
        done[canonicalize_name(found.name)] = found
        needs = [Requirement(line) for line in found.requires or []]
        here = {
            canonicalize_name(need.name) for need in needs if not need.marker or need.marker.evaluate({"extra": ""})
        }
        names |= here - done.keys()
    return list(done.values())


def test_the_new_environment_knows_nothing_of_this_project(python: str) -> None:
    for name in ("recloop", "prefect", "dvc", "great_expectations", "evidently", "pandas"):
        done = subprocess.run([python, "-c", f"import {name}"], cwd="/", capture_output=True, text=True, check=False)
        assert f"No module named '{name}'" in done.stderr


@pytest.mark.parametrize("by", ["tag", "path"])
def test_the_bento_serves_in_the_new_environment(
    by: str, checkout: Path, home: Path, python: str, tmp_path: Path
) -> None:
    target = "recloop:latest" if by == "tag" else str(next(home.glob("bentos/recloop/*/bento.yaml")).parent)
    bundle = Bundle.load(checkout / "artifacts/bundle")
    expected = Recommender(bundle).recommend(user_id="user-1", k=5).items
    store = f"sqlite:///{tmp_path}/store.sqlite"
    with serve(None, store, target=target, folder=tmp_path, python=python, home=home) as url:
        answer = httpx.post(f"{url}/recommend", json={"user_id": "user-1", "k": 5}).raise_for_status().json()
        assert answer["bundle"] == bundle.id
        assert [(item["item_id"], item["score"]) for item in answer["items"]] == [
            (item.item_id, item.score) for item in expected
        ]
        event = {"event_id": "e", "user_id": "user-1", "item_id": "item-1", "event": "click", "timestamp": 1}
        assert httpx.post(f"{url}/feedback", json={"events": [event]}).json()["accepted"] == 1
        assert httpx.get(f"{url}/model").json()["manifest"]["id"] == bundle.id
        for page in ("/ui", "/ui/page.css", "/ui/page.js", "/ui/icon.svg"):
            httpx.get(f"{url}{page}").raise_for_status()


def test_the_checkout_serves_its_own_bundle(checkout: Path, tmp_path: Path) -> None:
    with serve(None, f"sqlite:///{tmp_path}/store.sqlite", folder=checkout) as url:
        answer = httpx.post(f"{url}/recommend", json={}).raise_for_status().json()
        assert answer["bundle"] == Bundle.load(checkout / "artifacts/bundle").id


def test_the_bento_holds_code_and_bundle_only(home: Path) -> None:
    source = next(home.glob("bentos/recloop/*/src"))
    tops = {path.relative_to(source).parts[0] for path in source.rglob("*") if path.is_file()}
    assert tops == {"artifacts", "bentofile.yaml", "recloop"}
    assert {path.suffix for path in (source / "recloop").rglob("*") if path.is_file()} <= {
        ".py",
        ".pyc",
        ".html",
        ".css",
        ".js",
        ".svg",
    }
