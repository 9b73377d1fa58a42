"""Who answers a request when the canary does not: nobody is worse off for being in its share.

Where the plan interleaves, both are asked, and the slate is drafted of both answers. It has the propensities of neither
policy, so none are logged.

A canary that raises, or is not done within the time limit, has failed, and the champion answers in its place; that is
logged with the slate (`failed`) and judged by `loop.guardrails`. A request that the champion refuses too was bad.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from uuid import uuid4

from recloop import clock
from recloop.errors import RecloopError
from recloop.serving.asking import Ask, Past, Places, Recommendation
from recloop.serving.exposures import ExposureLog
from recloop.serving.interleaving import merge
from recloop.serving.limit import TimeLimit
from recloop.serving.recommender import Recommender
from recloop.serving.schemas import HistoryEvent, RecommendRequest
from recloop.serving.traffic import Served
from recloop.store import Arm, Exposure

TEAM_DRAFT = "team_draft"
"""What is logged as the policy of an interleaved slate."""
_log = logging.getLogger("bentoml.recloop")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What became of a request.

    Attributes:
        by: who answered, or was asked last.
        slate: the answer; `None` if there is none.
        arm: whose request it was.
        failed: id of the bundle that was asked first, if it failed.
        error: what was raised where there is no answer.
        bundles: whose pick each place is, where the slate is interleaved.
        seconds: how long the challenger took, where it was not the only one to be asked.
    """

    by: Recommender
    slate: Recommendation | None
    arm: Arm
    failed: str | None = None
    error: Exception | None = None
    bundles: list[str] | None = None
    seconds: float | None = None

    @property
    def policy(self) -> str:
        """What made the slate."""
        return self.by.config.policy if self.bundles is None else TEAM_DRAFT

    def exposure(self, request_id: str, user_id: str | None, seconds: float) -> Exposure:
        """What is logged of it.

        Args:
            request_id: of the request; of a shadow's slate, its own.
            user_id: who asked, as `Recommender.stored_id` gives it.
            seconds: how long it took.
        """
        slate = self.slate
        if slate is None:
            propensities = []
        else:
            propensities = slate.propensities if self.bundles is None else [None] * len(slate.items)
        places = Places() if slate is None else slate.items
        return Exposure(
            request_id=request_id,
            timestamp=clock.now(),
            user_id=user_id,
            bundle=self.by.bundle.id,
            policy=self.policy,
            items=places.ids,
            scores=places.scores,
            propensities=propensities,
            candidates=slate and slate.candidates,
            n_candidates=slate and slate.n_candidates,
            seed=slate and slate.seed,
            arm=self.arm,
            took=round(1e6 * (seconds if self.seconds is None else self.seconds)),
            bundles=self.bundles,
            fallback=slate and slate.fallback,
            failed=self.failed,
        )


def answer(
    served: Served,
    ask: Callable[[Recommender], Recommendation],
    *,
    k: int,
    user_id: str | None,
    request_id: str,
    limit: TimeLimit,
) -> Answer | None:
    """Ask whoever the plan names, and the champion if that is a canary that fails; `None` if nothing is loaded.

    Args:
        served: who is there.
        ask: asks one of them.
        k: places of the slate.
        user_id: who wants to know.
        request_id: of the request.
        limit: of the time that a canary has.

    Raises:
        RecloopError: the request is bad.
    """
    arm, first = served.choose(user_id, request_id)
    champion = served.champion
    if first is None or champion is None:
        return None
    of_canary, failed, why, begun = None, None, "", time.perf_counter()
    if first is not champion:
        try:
            of_canary = limit(lambda: ask(first))
        except Exception as error:  # noqa: BLE001 - whatever it is, the champion is asked instead
            failed, why = first.bundle.id, f"{type(error).__name__}: {error}"
        if of_canary is not None and arm == "canary":
            return Answer(by=first, slate=of_canary, arm=arm)
    seconds = time.perf_counter() - begun if arm == "interleaved" else None
    try:
        slate = ask(champion)
    except RecloopError:
        raise
    except Exception as error:  # noqa: BLE001 - the caller logs the request and raises it again
        failed = failed or champion.bundle.id
        return Answer(by=champion, slate=None, arm=arm, failed=failed, error=error, seconds=seconds)
    if failed is not None:
        _log.error("The canary %s failed, and the champion answered: %s", failed, why)
    if of_canary is None:
        return Answer(by=champion, slate=slate, arm=arm, failed=failed, seconds=seconds)
    items, teams = merge(slate, of_canary, k, request_id)
    ids = {"champion": champion.bundle.id, "challenger": first.bundle.id}
    both = replace(slate, items=items, fallback=of_canary.fallback)
    return Answer(by=champion, slate=both, arm=arm, bundles=[ids[team] for team in teams], seconds=seconds)


def ask_of(by: Recommender, request: RecommendRequest, request_id: str) -> Ask:
    """A request as this recommender takes it."""
    return Ask(
        user_id=by.stored_id(request.user_id),
        history=past_of(request.history),
        k=request.k,
        exclude=request.exclude,
        filters=request.filters,
        request_id=request_id,
    )


def past_of(history: Sequence[HistoryEvent] | None) -> list[Past] | None:
    """A history as recommenders take it."""
    if history is None:
        return None
    return [Past(item_id=one.item_id, timestamp=one.timestamp, value=one.value) for one in history]


def score_shadow(request: RecommendRequest, exposures: ExposureLog) -> Callable[[Recommender], None]:
    """What asks a shadow the same and logs its answer, which has an id of its own."""

    def score(shadow: Recommender) -> None:
        begun, ask = time.perf_counter(), ask_of(shadow, request, str(uuid4()))
        answered = Answer(by=shadow, slate=shadow.answer(ask), arm="shadow")
        exposures.put(answered.exposure(ask.request_id, ask.user_id, time.perf_counter() - begun))

    return score
