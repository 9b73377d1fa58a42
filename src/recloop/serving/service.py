"""The BentoML service: HTTP in front of a `Recommender` and a store of feedback.

Served from a checkout or a built Bento alike; `bentofile.yaml` names it. Which bundles serve is what the deployments in
the store say (`serving.traffic`); their folders lie in the project that `RECLOOP_ROOT` names, or in the working
directory. While nothing is deployed it is `artifacts/bundle`. A bundle that `RECLOOP_BUNDLE` names is served whatever
the store says, and so is that of a built Bento. Events go to the store, which `RECLOOP_DATABASE_URL` names.

This module is also imported by processes that never answer a request: torch and the rest are imported by the worker
that does.
"""

import logging
import os
import sys
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import anyio
import anyio.to_thread
import bentoml
from fastapi import FastAPI
from fastapi.responses import JSONResponse

from recloop import clock
from recloop.errors import RecloopError, StoreError
from recloop.serving import access, binding, counters, logs, playground
from recloop.serving.bodies import BodyLimit
from recloop.serving.door import Door
from recloop.serving.schemas import (
    ErrorResponse,
    ExplainRequest,
    ExplainResponse,
    FeedbackRequest,
    FeedbackResponse,
    ForgetRequest,
    ForgetResponse,
    Id,
    ModelResponse,
    RecommendRequest,
    RecommendResponse,
    ScoredItem,
    SimilarRequest,
    SimilarResponse,
)

if TYPE_CHECKING:
    from recloop.serving.asking import Recommendation, Scored
    from recloop.serving.recommender import Recommender

BUNDLE_VARIABLE = "RECLOOP_BUNDLE"
ROOT_VARIABLE = "RECLOOP_ROOT"
DEFAULT_BUNDLE = "artifacts/bundle"
BENTO_FILE = "bento.yaml"
"""Lies beside the source of a built Bento."""
RETRY_SECONDS = 5
THREADS = 4
"""Requests that are answered at once."""
CANARY_SECONDS = 2.0
"""How long a canary may take for an answer; then the champion gives it, and the canary has failed."""
SWITCH_SECONDS = 0.001
"""How long a thread that writes the log or scores may keep the interpreter from the one that answers."""
WRITERS = 64
"""Batches of feedback under way at once, which share commits; a store that hangs holds up these, and nothing else."""
REMAINS = (
    "The data hold the person until the next ingestion, the bundle until the next one is promoted, and older versions "
    "of the data until they are purged; 'recloop forget' does the first at once and says how to do the last."
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_log = logging.getLogger("bentoml.recloop")
_pages = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
playground.add_to(_pages)


@bentoml.service(
    name="recloop",
    workers=1,
    threads=THREADS,
    traffic={"timeout": 30},
    logging={"access": {"enabled": False}},  # it has the address of whoever asks
)
@bentoml.asgi_app(_pages)
class RecommendationService:
    """Personal recommendations, similar items, and the feedback that the next model learns from."""

    def __init__(self) -> None:
        import torch

        from recloop.serving.catalogue import Catalogues
        from recloop.serving.clicks import ClickStatistics
        from recloop.serving.exposures import ExposureLog
        from recloop.serving.feedback import Feedback
        from recloop.serving.keyring import Keyring
        from recloop.serving.limit import TimeLimit
        from recloop.serving.live import LiveHistories
        from recloop.serving.people import ErasedPeople
        from recloop.serving.quick import Quick
        from recloop.serving.traffic import Traffic, settle
        from recloop.store import URL_VARIABLE, Store

        logs.structure()
        torch.set_num_threads(1)  # answers are small, and requests share the cores by being many
        sys.setswitchinterval(SWITCH_SECONDS)
        if not os.environ.get(URL_VARIABLE):
            _log.info("%s is not set: feedback goes to a file in %s.", URL_VARIABLE, Path.cwd())
        root = Path(os.environ.get(ROOT_VARIABLE) or Path.cwd()).absolute()
        default = Path(os.environ.get(BUNDLE_VARIABLE) or root / DEFAULT_BUNDLE).absolute()
        pinned = bool(os.environ.get(BUNDLE_VARIABLE)) or (root.parent / BENTO_FILE).is_file()
        if pinned:
            _log.info("Pinned to the bundle in %s, whatever is deployed.", default)
        open_store = partial(Store.open, root=root)
        rule = binding.rule(binding.bind_address(sys.argv))
        _log.log(logging.WARNING if rule.loud else logging.INFO, "%s", rule.sentence)
        self._keyring = access.Guard.keyring = Keyring(open_store) if rule.required else None
        access.Guard.required = rule.required
        self._feedback = Feedback(open_store, clock.seconds)
        self._exposures = ExposureLog(open_store)
        self._people = ErasedPeople(open_store)
        self._limit = TimeLimit(CANARY_SECONDS, THREADS)
        self._writers = anyio.CapacityLimiter(WRITERS)
        self._live = LiveHistories(open_store, self._people.until)
        self._clicks = ClickStatistics(open_store)
        self._traffic = Traffic(
            open_store,
            root=root,
            default=default,
            pinned=pinned,
            erased=self._people.until,
            live=self._live,
            clicks=self._clicks,
        )
        self._catalogues = Catalogues()
        self._quick = Door.quick = Quick(self._traffic, self._exposures)
        settle()

    def __is_ready__(self) -> bool:
        """Whether a bundle is loaded; if none could be loaded so far, it is tried again."""
        return (self._traffic.served.champion or self._traffic.look().champion) is not None

    @bentoml.api(route="/recommend")
    def recommend(self, request: RecommendRequest, /) -> RecommendResponse:
        """Items for a known user, for a history, for both (the history counts), or for nobody in particular."""
        from recloop.serving.answer import answer, ask_of, score_shadow
        from recloop.serving.reasons import reasoned

        begun, request_id, served = time.perf_counter(), str(uuid4()), self._traffic.served

        def ask(asked: "Recommender") -> "Recommendation":
            return asked.answer(ask_of(asked, request, request_id))

        try:
            answered = answer(
                served, ask, k=request.k, user_id=request.user_id, request_id=request_id, limit=self._limit
            )
        except RecloopError as error:
            return _problem(400, str(error))
        if answered is None:
            return _no_bundle()
        user_id, seconds = answered.by.stored_id(request.user_id), time.perf_counter() - begun
        self._exposures.put(answered.exposure(request_id, user_id, seconds))
        counters.count_answer(answered.arm, failed=answered.failed is not None)
        counters.observe(seconds)
        if answered.slate is None:
            assert answered.error is not None
            raise answered.error
        self._traffic.shadow(score_shadow(request, self._exposures))
        counters.count_recommendation(answered.slate.fallback)
        return RecommendResponse(
            request_id=request_id,
            items=reasoned(served, answered, request) if request.reasons else _items(answered.slate.items),
            bundle=answered.by.bundle.id,
            policy=answered.policy,
            fallback=answered.slate.fallback,
            ignored=answered.slate.ignored,
        )

    @bentoml.api(route="/similar")
    def similar(self, request: SimilarRequest, /) -> SimilarResponse:
        """Items like one item of the catalogue."""
        from recloop.serving.recommender import UnknownItemError

        recommender = self._traffic.served.champion
        if recommender is None:
            return _no_bundle()
        try:
            items = recommender.similar(request.item_id, request.k)
        except UnknownItemError as error:
            return _problem(404, str(error))
        return SimilarResponse(items=_items(items), bundle=recommender.bundle.id)

    @bentoml.api(route="/explain")
    def explain(self, request: ExplainRequest, /) -> ExplainResponse:
        """Why an item is recommended to somebody: what each item of their history adds to its score."""
        from recloop.serving.reasons import answering, explained
        from recloop.serving.recommender import UnknownItemError

        if (recommender := answering(self._traffic.served, request.user_id)) is None:
            return _no_bundle()
        try:
            return explained(recommender, request)
        except UnknownItemError as error:
            return _problem(404, str(error))
        except RecloopError as error:
            return _problem(400, str(error))

    @bentoml.api(route="/feedback")
    async def feedback(self, request: FeedbackRequest, /) -> FeedbackResponse:
        """Take events; those accepted are committed to the store before this answers."""
        if (recommender := self._traffic.served.champion) is None:
            return _no_bundle()
        take = partial(self._feedback.take, request.events, stored_id=recommender.stored_id)
        try:
            response = await anyio.to_thread.run_sync(take, limiter=self._writers)
        except StoreError as error:
            _log.error("Feedback refused: %s", error)
            counters.count_unavailable(len(request.events))
            sentence = "The store of events cannot be reached now, and nothing was stored; send the events again later."
            return _problem(503, sentence, **{"Retry-After": str(RETRY_SECONDS)})
        self._live.wake()
        counters.count_feedback(response)
        return response

    @bentoml.api(route="/forget")
    async def forget(self, request: ForgetRequest, /) -> ForgetResponse:
        """Erase a person from the store; answered as somebody unknown from now on, and gone from the next data."""
        if (recommender := self._traffic.served.champion) is None:
            return _no_bundle()
        erase = partial(
            self._people.erase, recommender.stored_id(request.user_id), request.asked_by, access.CALLER.get()
        )
        try:
            erasure = await anyio.to_thread.run_sync(erase, limiter=self._writers)
        except StoreError as error:
            _log.error("Nobody was forgotten: %s", error)
            sentence = "The store cannot be reached now, and nobody was forgotten; ask again later."
            return _problem(503, sentence, **{"Retry-After": str(RETRY_SECONDS)})
        return ForgetResponse(
            erased=dict(erasure.counts),
            until=(_EPOCH + timedelta(microseconds=erasure.until)).isoformat(timespec="microseconds"),
            remains=REMAINS,
        )

    @_pages.get("/docs.json", include_in_schema=False)
    def document(self) -> JSONResponse:
        """BentoML's OpenAPI document, with the API keys."""
        return JSONResponse(access.described(RecommendationService.openapi_spec.asdict()))

    @_pages.get("/model", responses={503: {"model": ErrorResponse}})
    def model(self) -> ModelResponse:
        """The manifests of the bundles that are serving, and who serves whom."""
        served = self._traffic.served
        if served.champion is None:
            return _no_bundle()
        manifest = served.champion.bundle.manifest
        others = {name: one.bundle.manifest for name, one in served.recommenders.items() if name != manifest["id"]}
        return ModelResponse(manifest=manifest, challengers=others, plan=self._traffic.state())

    @_pages.get("/catalogue", responses={503: {"model": ErrorResponse}})
    async def catalogue(
        self, query: playground.Words = "", limit: playground.Limit = 20, ids: playground.Ids = playground.NO_IDS
    ) -> playground.CatalogueResponse:
        """Items whose title has words that begin like those of `query`, most often used first; or those of `ids`."""
        served = self._traffic.served
        if served.champion is None:
            return _no_bundle()
        if ids:
            return await anyio.to_thread.run_sync(playground.titles, served, ids)
        found = await playground.search(served, self._catalogues, query, limit)
        sentence = "The index of the catalogue is being made; ask again in a few seconds."
        return found or _problem(503, sentence, **{"Retry-After": "1"})

    @_pages.post("/ui/recommend", include_in_schema=False)  # for the page; and documented, each /docs.json nests deeper
    def trial(self, bundle: Id, request: RecommendRequest) -> playground.TrialResponse:
        """What one of the bundles in traffic recommends; it is shown to nobody, so it is neither logged nor counted."""
        try:
            answered = playground.trial(self._traffic.served, bundle, request)
        except RecloopError as error:
            return _problem(400, str(error))
        return answered or _problem(404, f"Bundle '{bundle}' is not in traffic; GET /model names those that are.")

    @bentoml.on_shutdown
    def close(self) -> None:
        """Log the slates that are still waiting, and give the store's connections back."""
        Door.quick = None
        access.Guard.required, access.Guard.keyring = True, None
        self._quick.close()
        self._catalogues.close()
        self._traffic.close()
        self._exposures.close()
        self._clicks.close()
        self._live.close()
        self._people.close()
        self._feedback.close()
        if self._keyring is not None:
            self._keyring.close()


RecommendationService.add_asgi_middleware(Door)  # pyright: ignore[reportArgumentType] - BentoML's type is not ASGI's
RecommendationService.add_asgi_middleware(BodyLimit)  # pyright: ignore[reportArgumentType] - BentoML's type is not ASGI's


def _items(scored: "list[Scored]") -> list[ScoredItem]:
    return [ScoredItem(item_id=item.item_id, score=item.score) for item in scored]


def _no_bundle() -> Any:
    return _problem(503, "No bundle is loaded; package a model, or name its folder in RECLOOP_BUNDLE.")


def _problem(status: int, sentence: str, **headers: str) -> Any:
    """An answer that is sent as it is, in place of the documented one."""
    return JSONResponse({"error": sentence}, status_code=status, headers=headers)
