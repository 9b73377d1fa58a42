"""The page at /ui and the calls that it needs, of the real service; and the page in chromium."""

import asyncio
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from playwright.sync_api import Page, expect

from recloop.loop.deployments import promote
from recloop.loop.traffic import begin_shadow
from recloop.models.storage import Trained
from recloop.serving import access, playground
from recloop.serving.bundle import write_bundle
from recloop.serving.catalogue import Catalogues, Index
from recloop.serving.playground import FILES, MAX_FOUND, MAX_IDS
from recloop.serving.traffic import Served
from recloop.store import Store
from tests.flows.browsing import browser
from tests.support.bundles import known, train, world
from tests.support.service import ROOT, serve
from tests.support.waiting import until

WORLD = world()
SCRIPT = "<img src=x onerror=alert(1)>"
"""The title of one item, to be shown as it is."""


def titled(folder: Path, model: str) -> None:
    trained, vocabulary = train(model, WORLD)
    items = known(WORLD).items
    assert items is not None
    titles = [SCRIPT if number == 0 else title for number, title in enumerate(items["title"])]
    write_bundle(
        folder,
        trained=Trained(model=trained, vocabulary=vocabulary),
        interactions=WORLD,
        items=items.with_columns(title=items["title"].replace_strict(items["title"], titles)),
        record={"data": {"feedback": 0, "train_window": ["1970-01-01T00:00:00+00:00", "1970-01-02T00:00:00+00:00"]}},
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("playground")


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[httpx.Client]:
    """A service whose champion is `ease`, with `popularity` as a shadow."""
    url = f"sqlite:///{folder}/s.sqlite"
    with Store.open(url) as store:
        titled(folder / "artifacts/bundle", "ease")
        promote(folder, store, reason="First.")
        titled(folder / "artifacts/bundle", "popularity")
        begin_shadow(folder, store, reason="Try it.")
    with serve(None, url, root=folder) as address, httpx.Client(base_url=address, timeout=30) as client:
        yield client


@pytest.mark.integration
class TestCalls:
    @pytest.mark.parametrize("name", FILES)
    def test_the_files_are_served_with_their_kind_and_a_strict_policy(self, client: httpx.Client, name: str):
        answer = client.get("/ui" if name == "page.html" else f"/ui/{name}").raise_for_status()
        assert answer.content == (ROOT / "src/recloop/serving/ui" / name).read_bytes()
        assert answer.headers["content-type"].partition(";")[0] == FILES[name]
        assert answer.headers["content-security-policy"].startswith("default-src 'self'; ")
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"

    def test_the_catalogue_is_searched(self, client: httpx.Client):
        items = client.get("/catalogue", params={"query": "NUMBER 1", "limit": 3}).raise_for_status().json()["items"]
        assert len(items) == 3
        assert all(" number 1" in item["title"] for item in items)
        assert all(item["categories"] == [item["title"].split(" ")[0]] for item in items)
        assert client.get("/catalogue", params={"query": "unheard of"}).json() == {"items": []}
        assert len(client.get("/catalogue").json()["items"]) == 20

    def test_items_are_looked_up_by_their_ids(self, client: httpx.Client):
        items = (
            client.get("/catalogue", params={"ids": ["item-3", "none", "item-1"]}).raise_for_status().json()["items"]
        )
        assert [item["item_id"] for item in items] == ["item-3", "item-1"]

    @pytest.mark.parametrize(
        ("params", "field"),
        [
            ({"limit": MAX_FOUND + 1}, "limit"),
            ({"limit": 0}, "limit"),
            ({"limit": "many"}, "limit"),
            ({"query": "x" * 201}, "query"),
            ({"ids": ["x"] * (MAX_IDS + 1)}, "ids"),
            ({"ids": ["x" * 257]}, "ids"),
        ],
    )
    def test_bad_searches_are_400_with_the_name_of_the_field(
        self, client: httpx.Client, params: dict[str, Any], field: str
    ):
        answer = client.get("/catalogue", params=params)
        assert answer.status_code == 400
        assert [problem["loc"][:2] for problem in answer.json()["detail"]] == [["query", field]]

    def test_a_certain_bundle_is_asked_and_nothing_is_logged(self, client: httpx.Client, folder: Path):
        model = client.get("/model").json()
        champion, (shadow,) = model["manifest"]["id"], model["challengers"]
        body = {"user_id": "user-31", "k": 4}
        trials = [
            client.post("/ui/recommend", params={"bundle": bundle}, json=body).raise_for_status().json()
            for bundle in (champion, shadow)
        ]
        assert [one["bundle"] for one in trials] == [champion, shadow]
        assert trials[0]["items"] != trials[1]["items"]
        shown = client.post("/recommend", json=body).raise_for_status().json()
        assert shown["items"] == trials[0]["items"]

        def logged() -> list[str]:
            with Store.open(f"sqlite:///{folder}/s.sqlite") as store:
                slates = [row for frame in store.slates_after(0) for row in frame.to_dicts()]
            return [row["request_id"] for row in slates if row["arm"] != "shadow" and row["user_id"] == "user-31"]

        until(lambda: shown["request_id"] in logged())
        assert logged() == [shown["request_id"]], "what was tried before is not in the log"

    def test_the_api_is_described_however_often_one_asks(self, client: httpx.Client):
        for _ in range(10):
            paths = client.get("/docs.json").raise_for_status().json()["paths"]
        assert "/catalogue" in paths
        assert not [path for path in paths if path.startswith("/ui")]

    def test_a_bundle_that_is_not_in_traffic_is_404(self, client: httpx.Client):
        answer = client.post("/ui/recommend", params={"bundle": "other"}, json={})
        assert answer.status_code == 404
        assert answer.json() == {"error": "Bundle 'other' is not in traffic; GET /model names those that are."}

    def test_bad_trials_are_400(self, client: httpx.Client):
        bundle = client.get("/model").json()["manifest"]["id"]
        history = [{"item_id": "item-1", "timestamp": 1}, {"item_id": "item-2"}]
        mixed = client.post("/ui/recommend", params={"bundle": bundle}, json={"history": history})
        assert mixed.status_code == 400
        assert mixed.json()["error"].startswith("history: either every event has a timestamp")
        wrong = client.post("/ui/recommend", params={"bundle": bundle}, json={"k": 0})
        assert wrong.status_code == 400
        assert [problem["loc"] for problem in wrong.json()["detail"]] == [["body", "k"]]


@pytest.fixture
def page(client: httpx.Client) -> Iterator[tuple[Page, list[str]]]:
    """The page, and what was wrong: messages of the console, and requests to other hosts."""
    wrong = list[str]()
    with browser() as page:
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on(
            "response",
            lambda answer: wrong.append(f"{answer.url}: {answer.text()}") if answer.status >= 500 else None,
        )
        page.on(
            "request",
            lambda request: None if request.url.startswith(str(client.base_url)) else wrong.append(request.url),
        )
        page.goto(f"{client.base_url}/ui")
        expect(page.locator("#items button")).to_have_count(10)
        yield page, wrong


def listed(page: Page) -> list[str | None]:
    return [one.get_attribute("data-id") for one in page.locator("#items button").all()]


def pick(page: Page, query: str, down: int) -> None:
    """Search with the keyboard, go down, and pick."""
    page.get_by_label("Find titles that you like").focus()
    page.keyboard.type(query)
    if down:
        expect(page.locator("#count")).to_contain_text(f"“{query}”")
    for _ in range(down):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")


@pytest.mark.integration
@pytest.mark.browser
class TestPage:
    def test_it_is_used_with_the_keyboard_and_a_click_changes_the_list(
        self, client: httpx.Client, folder: Path, page: tuple[Page, list[str]]
    ):
        page_, wrong = page
        pick(page_, "number 1", down=0)
        expect(page_.locator("#changed")).to_contain_text("With ")
        pick(page_, "number 2", down=2)
        picks = page_.get_by_role("list", name="Your history").get_by_role("button")
        expect(picks).to_have_count(2)
        expect(page_.locator("#ground")).to_contain_text("From the history")
        expect(page_.locator("#items .reason").first).to_contain_text("Because of ")
        before = listed(page_)
        page_.locator("#items button").nth(1).focus()
        page_.keyboard.press("Enter")
        expect(page_.locator("#changed")).to_contain_text("After ")
        after = listed(page_)
        assert before[1] in before
        assert before[1] not in after
        expect(page_.locator("#changed")).to_contain_text("gone")
        expect(page_.locator("#items button").nth(1)).to_be_focused()
        expect(picks).to_have_count(3)
        with Store.open(f"sqlite:///{folder}/s.sqlite") as store:
            rows = [row for frame in store.events_after(0) for row in frame.to_dicts()]
        assert [(row["item_id"], row["event"]) for row in rows if row["user_id"].startswith("playground-")] == [
            (before[1], "click")
        ]
        assert all(row["request_id"] for row in rows)
        assert wrong == []

    def test_a_known_user_is_answered_by_what_they_clicked(self, client: httpx.Client, page: tuple[Page, list[str]]):
        page_, wrong = page
        page_.get_by_label("Or be a known user").fill("user-9")
        page_.keyboard.press("Enter")
        expect(page_.locator("#for")).to_have_text("for user-9")
        first = listed(page_)[0]
        page_.locator("#items button").first.click()
        expect(page_.locator("#changed")).to_contain_text("After ")
        assert first not in listed(page_)
        answer = client.post("/recommend", json={"user_id": "user-9"}).json()
        assert first not in [item["item_id"] for item in answer["items"]]
        assert wrong == []

    def test_two_bundles_and_the_manifest_are_shown(self, client: httpx.Client, page: tuple[Page, list[str]]):
        page_, wrong = page
        page_.get_by_role("button", name="Compare").click()
        expect(page_.get_by_role("region", name="Champion", exact=True).get_by_role("listitem")).to_have_count(10)
        expect(page_.get_by_role("region", name="Challenger", exact=True).get_by_role("listitem")).to_have_count(10)
        expect(page_.get_by_role("region", name="What is serving")).to_contain_text("Shadow, shown to nobody")
        expect(page_.get_by_role("region", name="What is serving")).to_contain_text(
            client.get("/model").json()["manifest"]["id"]
        )
        assert wrong == []

    def test_a_title_is_shown_as_it_is(self, page: tuple[Page, list[str]]):
        page_, wrong = page
        page_.get_by_label("Find titles that you like").fill("onerror")
        expect(page_.get_by_role("button", name=SCRIPT)).to_be_visible()
        assert page_.locator("main img").count() == 0
        assert wrong == []

    def test_with_a_key_it_works_where_one_is_needed(self, tmp_path: Path):
        titled(tmp_path / "bundle", "ease")
        store_url = f"sqlite:///{tmp_path}/s.sqlite"
        with Store.open(store_url) as store:
            _, key = store.create_key("a person at the page", ["recommend", "feedback"])
        with (
            serve(tmp_path / "bundle", store_url, settings={"RECLOOP_API_KEYS": "required"}) as url,
            browser() as page,
        ):
            page.goto(f"{url}/ui")
            expect(page.get_by_role("alert")).to_contain_text("This call needs an API key")
            assert page.locator("#items button").count() == 0
            page.get_by_label("API key").fill(key)
            page.keyboard.press("Enter")
            expect(page.locator("#items button")).to_have_count(10)
            pick(page, "number 1", down=0)
            page.locator("#items button").first.click()
            expect(page.locator("#changed")).to_contain_text("After ")
            expect(page.get_by_role("alert")).to_be_hidden()
        for path in ("/catalogue", "/ui/recommend"):
            assert access.needed("POST" if "ui" in path else "GET", path) == "recommend"

    def test_it_says_what_is_wrong_and_asks_for_a_key(self, client: httpx.Client, page: tuple[Page, list[str]]):
        page_, _ = page
        keys = list[str | None]()

        def closed(route: Any, request: Any) -> None:
            keys.append(request.headers.get("authorization"))
            if keys[-1] == "Bearer secret":
                route.continue_()
            else:
                route.fulfill(status=401, json={"error": "A key is needed."})

        page_.route("**/model", closed)
        expect(page_.get_by_label("API key")).to_be_hidden()
        page_.reload()
        expect(page_.get_by_role("alert")).to_have_text("A key is needed.")
        page_.get_by_label("API key").fill("secret")
        page_.keyboard.press("Enter")
        expect(page_.locator("#items button")).to_have_count(10)
        expect(page_.get_by_role("alert")).to_be_hidden()
        assert keys == [None, "Bearer secret"]

    def test_on_a_phone_nothing_is_wider_than_the_screen(self, page: tuple[Page, list[str]]):
        page_, wrong = page
        page_.set_viewport_size({"width": 360, "height": 740})
        pick(page_, "number", down=1)
        page_.get_by_role("button", name="Compare").click()
        expect(page_.get_by_role("region", name="Challenger", exact=True)).to_be_visible()
        page_.get_by_text("Whole manifest").first.click()
        assert page_.evaluate("document.documentElement.scrollWidth") == 360
        wide = (
            "[...document.querySelectorAll('body *')].filter(one => one.getBoundingClientRect().right > 360.5).length"
        )
        assert page_.evaluate(wide) == 0
        heights = "[...document.querySelectorAll('button, input, select')].map(one => one.offsetHeight)"
        assert min(height for height in page_.evaluate(heights) if height) >= 32, "too small for a finger"
        assert wrong == []


def test_a_search_does_not_wait_for_an_index_that_takes_long(monkeypatch: pytest.MonkeyPatch):
    class Slow:
        made: Future[Index] = Future()

        def of(self, recommender: object) -> Future[Index]:
            return self.made

    monkeypatch.setattr(playground, "WAIT_SECONDS", 0.01)
    served = cast("Served", SimpleNamespace(champion=object()))
    assert asyncio.run(playground.search(served, cast("Catalogues", Slow()), "a", 1)) is None
    assert not Slow.made.cancelled(), "it is made for those who ask again"


def test_an_installed_wheel_has_the_page(tmp_path: Path):
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    build = [sys.executable, "-c", "from setuptools import build_meta; build_meta.build_wheel('.')"]
    done = subprocess.run(build, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        names = set(wheel.namelist())
    assert {f"recloop/serving/ui/{name}" for name in FILES} <= names
