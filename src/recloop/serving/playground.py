"""The page at `/ui`, for trying the service by hand, and the calls that only it needs.

Its files lie in the folder `ui`. It asks the same API as everybody; besides, it searches the catalogue, and asks a
certain one of the bundles that are in traffic, which is neither logged as a slate nor counted.
"""

import asyncio
from importlib.resources import files
from typing import TYPE_CHECKING, Annotated, Any

import anyio.to_thread
from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field

from recloop.serving.schemas import Id, RecommendRequest, ScoredItem

if TYPE_CHECKING:
    from recloop.serving.catalogue import Catalogues, Entry
    from recloop.serving.traffic import Served

FILES = {"page.html": "text/html", "page.css": "text/css", "page.js": "text/javascript", "icon.svg": "image/svg+xml"}
"""The page's files, and what they are."""
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
MAX_FOUND = 50
MAX_IDS = 200
WAIT_SECONDS = 2.0
"""How long a search waits for an index that is being made."""

Words = Annotated[str, Query(max_length=200)]
Limit = Annotated[int, Query(ge=1, le=MAX_FOUND)]
Ids = Annotated[list[Id], Query(max_length=MAX_IDS)]
NO_IDS: list[str] = []


class CatalogueItem(BaseModel):
    """An item as people know it."""

    item_id: str
    title: str = Field(description="The id, where the item has no title.")
    categories: list[str]


class CatalogueResponse(BaseModel):
    """Items of the catalogue."""

    items: list[CatalogueItem]


class TrialResponse(BaseModel):
    """What a bundle recommends, though nobody is shown it."""

    items: list[ScoredItem]
    bundle: str
    policy: str
    fallback: str | None
    ignored: int


def add_to(pages: FastAPI) -> None:
    """Serve the page, and answer bad requests to `pages` by 400, as all other calls do."""
    for name, kind in FILES.items():
        path = "/ui" if name == "page.html" else f"/ui/{name}"
        pages.get(path, include_in_schema=False)(_file(name, kind))
    pages.exception_handler(RequestValidationError)(_bad_request)


async def search(served: "Served", catalogues: "Catalogues", words: str, limit: int) -> CatalogueResponse | None:
    """Items of the champion whose words begin with those asked for; `None` if its index is still being made."""
    from recloop.serving.catalogue import entries

    champion = served.champion
    assert champion is not None
    making = asyncio.wrap_future(catalogues.of(champion))
    try:
        index = await asyncio.wait_for(asyncio.shield(making), WAIT_SECONDS)
    except TimeoutError:
        return None

    def look() -> CatalogueResponse:
        return _catalogue(entries(champion.bundle, index.search(words, limit)))

    return await anyio.to_thread.run_sync(look)


def titles(served: "Served", ids: list[str]) -> CatalogueResponse:
    """What is known of these items in any bundle that is loaded, the champion first; unknown ones are left out."""
    from recloop.serving.catalogue import known

    asked = [served.champion, *served.recommenders.values()]
    return _catalogue(known((one.bundle for one in asked if one is not None), ids))


def trial(served: "Served", bundle: str, request: RecommendRequest) -> TrialResponse | None:
    """What a certain bundle recommends now; `None` if it is not in traffic.

    Raises:
        RecloopError: the request is bad.
    """
    from recloop.serving.answer import ask_of

    loaded = [served.champion, *served.recommenders.values()]
    by = next((one for one in loaded if one is not None and one.bundle.id == bundle), None)
    if by is None:
        return None
    slate = by.answer(ask_of(by, request, "trial"))
    return TrialResponse(
        items=[ScoredItem(item_id=one.item_id, score=one.score) for one in slate.items],
        bundle=bundle,
        policy=by.config.policy,
        fallback=slate.fallback,
        ignored=slate.ignored,
    )


def _catalogue(entries: "list[Entry]") -> CatalogueResponse:
    return CatalogueResponse(
        items=[CatalogueItem(item_id=one.item_id, title=one.title, categories=one.categories) for one in entries]
    )


def _file(name: str, kind: str) -> Any:
    def answer() -> Response:
        content = files("recloop.serving").joinpath("ui", name).read_bytes()
        return Response(content, media_type=kind, headers=HEADERS)

    return answer


async def _bad_request(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    problems = [{key: one[key] for key in ("type", "loc", "msg")} for one in error.errors()]
    return JSONResponse({"detail": problems}, status_code=400)
