"""The Prefect UI in a real browser: start `train` from its form, see it end, see its leaderboard."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.flows import scratch
from tests.flows.browsing import browser, choose, choose_models, open_form, submit, type_number
from tests.support.prefect_server import Server, served
from tests.support.project import make

pytestmark = [pytest.mark.integration, pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(900)]
MINUTES = 60_000


@pytest.fixture
def page() -> Iterator[Page]:
    with browser() as page:
        yield page


def see_it_complete(page: Page, server: Server, run: str, minutes: float) -> None:
    """The run's page says so; on a failure the test shows the server's reason."""
    ended = server.finished(run, seconds=60 * minutes)
    assert ended["state"]["type"] == "COMPLETED", ended["state"]["message"]
    expect(page.get_by_role("main").get_by_text("Completed", exact=True).first).to_be_visible()


def open_artifact(page: Page, key: str) -> None:
    """Run -> Artifacts -> the history of one -> its newest version."""
    page.get_by_role("tab", name="Artifacts").click()
    page.get_by_role("link", name=key).click()
    page.locator("main a[href*='/artifacts/artifact/']").first.click()
    expect(page.get_by_role("tab", name="Artifact", exact=True)).to_be_visible()


def test_train_from_the_form_on_the_scratch_project(page: Page, tmp_path: Path):
    project = scratch.make(tmp_path / "project")
    with served(project) as server:
        open_form(page, server.url, "train")
        type_number(page, "test_fraction", "1.5")
        page.get_by_role("button", name="Submit").click()
        expect(page.get_by_text("1.5 is greater than or equal to the maximum of 1").first).to_be_visible()
        assert server.runs("train") == []

        open_form(page, server.url, "train")
        choose_models(page, "ease", "als")
        choose(page, "device", "cpu")
        type_number(page, "seed", "7")
        run = submit(page, server, "train")
        see_it_complete(page, server, run, minutes=4)
        open_artifact(page, "leaderboard")
        for row in ("ease 0.0400", "als 0.0300"):
            expect(page.get_by_role("row", name=row)).to_be_visible()
        page.go_back()
        page.go_back()
        open_artifact(page, "gate-decision")
        expect(page.get_by_role("heading", name="Promote ease.")).to_be_visible()
    params = (project / "params.yaml").read_text()
    assert "models: [ease, als]" in params
    assert "seed: 7" in params
    assert "device: cpu" in params
    assert scratch.dvc(project, "status") == "Data and pipelines are up to date.\n"


def test_train_and_deploy_from_the_ui_on_the_real_project(page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "bentos"))
    project = make(tmp_path / "project")
    project.recloop("ingest")
    with served(project.root, code=project.root) as server:
        open_form(page, server.url, "train")
        choose_models(page, "popularity", "ease")
        choose(page, "device", "cpu")
        run = submit(page, server, "train")
        see_it_complete(page, server, run, minutes=9)
        open_artifact(page, "leaderboard")
        for model in ("popularity", "ease"):
            expect(page.get_by_role("cell", name=model, exact=True)).to_be_visible()
        keys = {artifact["key"] for artifact in server.post("artifacts/filter")}
        assert keys >= {"validation", "leaderboard", "gate-decision", "bundle", "drift"}
        for action, done in (("promote", "is in charge now."), ("build", "Built recloop:")):
            ended = server.finished(server.start("deploy", action=action, reason="it won"))
            assert done in ended["state"]["message"]
        state = json.loads(project.recloop("status", "--json").stdout)
        (chain,) = state["chain"].values()
        assert f"Built {chain['bento']}." == ended["state"]["message"]
    assert project.params()["train"]["models"] == ["popularity", "ease"]
    assert project.dvc("status").stdout == "Data and pipelines are up to date.\n"
