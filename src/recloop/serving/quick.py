"""The short way to an answer, which `serving.door` opens: from the bytes of a request to those of its answer.

It answers what is in no way special: a well-formed body, the champion alone, no error. All else is left to BentoML's
own way. Whoever's candidates were scored before is answered at once; the others wait for a batch.
"""

import asyncio
import logging
import time

import orjson
from pydantic import ValidationError

from recloop.errors import RecloopError
from recloop.serving import counters
from recloop.serving.answer import Answer, ask_of, score_shadow
from recloop.serving.asking import Recommendation
from recloop.serving.batches import Batches
from recloop.serving.exposures import ExposureLog
from recloop.serving.ids import RequestIds
from recloop.serving.recommender import Recommender
from recloop.serving.schemas import RecommendRequest
from recloop.serving.traffic import Traffic

SECONDS = 30.0
"""How long an answer may take."""
_log = logging.getLogger("bentoml.recloop")


class Quick:
    """Answers plain requests to recommend.

    Args:
        traffic: who answers.
        exposures: where slates are logged.
    """

    def __init__(self, traffic: Traffic, exposures: ExposureLog) -> None:
        self._traffic, self._exposures = traffic, exposures
        self._batches, self._ids = Batches(), RequestIds()

    async def answer(self, body: bytes) -> bytes | None:
        """The answer's body; `None` if this is for the long way."""
        begun = time.perf_counter()
        try:
            request = RecommendRequest.model_validate_json(body)
        except ValidationError:
            return None
        if request.reasons:
            return None
        request_id, served = self._ids(), self._traffic.served
        arm, by = served.choose(request.user_id, request_id)
        if by is None or arm != "champion":
            return None
        ask = ask_of(by, request, request_id)
        try:
            ready = by.ready(ask)
            counters.count_lookup(hit=ready is not None)
            if ready is not None and ask.k in ready.slates:
                slate = by.slate(ready, ask)
            else:
                async with asyncio.timeout(SECONDS):
                    slate = await self._batches.recommend(by, ask)
        except RecloopError:
            return None
        except Exception:  # noqa: BLE001 - the long way asks again, and says and logs what it was
            _log.exception("The short way failed.")
            return None
        seconds = time.perf_counter() - begun
        self._exposures.put(Answer(by=by, slate=slate, arm=arm).exposure(request_id, ask.user_id, seconds))
        if served.shadow is not None:
            self._traffic.shadow(score_shadow(request, self._exposures))
        counters.count_answer(arm, failed=False)
        counters.count_recommendation(slate.fallback)
        counters.observe(seconds)
        return _body(request_id, by, slate)

    def close(self) -> None:
        """End its thread."""
        self._batches.close()


def _body(request_id: str, by: Recommender, slate: Recommendation) -> bytes:
    rest = {"bundle": by.bundle.id, "policy": by.config.policy, "fallback": slate.fallback, "ignored": slate.ignored}
    return b'{"request_id":"%b","items":%b,%b' % (request_id.encode(), slate.items.json, orjson.dumps(rest)[1:])
