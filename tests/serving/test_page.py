"""BentoML's page that lists the calls, in a browser: it works, and loads nothing from other hosts."""

from pathlib import Path

import pytest
from playwright.sync_api import Request, expect

from recloop.store import Store
from tests.flows.browsing import browser
from tests.support.bundles import popularity_bundle, world
from tests.support.service import serve

pytestmark = [pytest.mark.browser, pytest.mark.integration]


def test_the_page_takes_a_key_and_asks_no_other_host(tmp_path: Path) -> None:
    store_url, asked = f"sqlite:///{tmp_path}/s.sqlite", list[Request]()
    with Store.open(store_url) as store:
        _, key = store.create_key("a person at the page", ["recommend"])
    bundle = popularity_bundle(tmp_path / "bundle", world())
    required = {"RECLOOP_API_KEYS": "required"}
    with serve(bundle, store_url, settings=required) as url, browser() as page:
        page.on("request", lambda request: asked.append(request))  # noqa: PLW0108 - it sets an attribute on what it is given
        page.goto(url)
        page.get_by_role("button", name="Authorize").first.click()
        page.locator(".auth-container").filter(has_text="bearer").locator("input").fill(key)
        page.locator(".auth-container").filter(has_text="bearer").get_by_role("button", name="Apply").click()
        page.locator(".btn-done").first.click()
        row = page.locator(".opblock").filter(has_text="/model")
        row.locator(".opblock-summary").click()
        row.get_by_role("button", name="Try it out").click()
        row.get_by_role("button", name="Execute").click()
        expect(row.locator(".live-responses-table").get_by_text("popularity").first).to_be_visible()
        assert page.evaluate("window.google_tag_manager === undefined && window.dataLayer === undefined")
        foreign = [one for one in asked if one.url.startswith("http") and not one.url.startswith(url)]
        assert {one.failure for one in foreign} <= {"csp"}, "forbidden by the page's policy, so never sent"
        assert len(foreign) < len(asked)
