"""What a person does in the Prefect UI, in Debian's chromium."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Page, expect, sync_playwright
from playwright.sync_api import TimeoutError as OutOfTime

from tests.support.prefect_server import Server
from tests.support.waiting import until

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE = 60_000
"""Milliseconds for a page of the UI on a busy machine."""


@contextmanager
def browser() -> Iterator[Page]:
    """A page in a new chromium; skips where there is none."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed (Debian: apt-get install chromium)")
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = running.new_page(viewport={"width": 1400, "height": 1300})
        page.set_default_timeout(PATIENCE)
        yield page
        running.close()


def open_form(page: Page, url: str, flow: str) -> None:
    """Deployments -> the one of `flow` -> Run -> Custom run."""
    page.goto(url)
    page.get_by_role("link", name="Deployments").click()
    page.get_by_role("row").filter(has=page.get_by_text(flow, exact=True)).get_by_role("link", name="default").click()
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Custom run").click()
    expect(page.get_by_role("heading", name="Parameters")).to_be_visible()


def choose_models(page: Page, *names: str) -> None:
    """Tick models in the form of `train`."""
    for name in names:
        _take(page, "ModelName", name)
        page.keyboard.press("Escape")
        expect(page.get_by_role("listbox")).to_have_count(0)
        expect(page.get_by_role("main").get_by_text(name, exact=True)).to_be_visible()


def choose(page: Page, field: str, value: str) -> None:
    """Take one entry of a list."""
    _take(page, field, value)
    expect(page.get_by_role("button", name=f"Select {field}")).to_have_text(value)


def _take(page: Page, field: str, value: str) -> None:
    """Open a list and click an entry; the page may draw itself anew meanwhile and close the list, then again."""
    for attempt in range(5):
        page.get_by_role("button", name=f"Select {field}").click()
        try:
            page.get_by_role("option", name=value, exact=True).click(timeout=PATIENCE / 10)
        except OutOfTime:
            if attempt == 4:
                raise
            page.keyboard.press("Escape")
        else:
            return


def type_number(page: Page, field: str, value: str) -> None:
    """Leave the tab of nothing for that of a number, and write it."""
    label = page.get_by_text(f"{field} (Optional)", exact=True)
    label.locator("xpath=following::*[@role='tab'][1]").click()
    label.locator("xpath=following::input[1]").fill(value)


def submit(page: Page, server: Server, flow: str) -> str:
    """Start a run of `flow` and open its page; returns the run's id.

    The run is the one that the server then has: the page may draw itself anew before the click, which gives the form
    another name, or while it is clicked, which loses the click.
    """
    before = {run["id"] for run in server.runs(flow)}

    def started() -> dict[str, Any] | None:
        return next((run for run in server.runs(flow) if run["id"] not in before), None)

    for attempt in range(3):
        page.get_by_role("button", name="Submit").click()
        try:
            run = until(started, seconds=PATIENCE / 2000)
            break
        except AssertionError:
            assert attempt < 2, f"no run came of the form, which shows: {page.get_by_role('main').inner_text()}"
    page.goto(server.url)
    page.get_by_role("link", name="Runs", exact=True).click()
    page.get_by_role("link", name=run["name"], exact=True).first.click()
    return run["id"]
