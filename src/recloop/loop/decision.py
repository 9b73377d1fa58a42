"""Whether to retrain: one record for each look at the loop, with everything that led to it.

A *trigger* compares one figure with its bound. The verdict is

- ``wait`` while a retraining is under way, within the cooldown after the last one, or if no trigger fires;
- ``alert`` if one fires that retraining cannot answer: there is nothing new to learn from, or a person has to look
  because the rules say so;
- ``retrain`` otherwise, also to make up for one that was cut short or failed, and always when a person asks and none is
  under way.

What is not known fires nothing, and is said to be unknown.

One retraining at a time holds for all that share a store. Of one that was begun and has not ended, its own project
knows that its process died, since whoever asks holds the project's lock; any other waits until its lease is over.
"""

import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from recloop.config import Config
from recloop.store import Decision, Store

Verdict = Literal["wait", "retrain", "alert"]
Answer = Literal["retrain", "alert", "ignore"]

MONITOR = "monitor"
RETRAIN = "retrain"
BEGUN, DONE, FAILED, LOST = "begun", "done", "failed", "lost"
_UNDONE = {FAILED: "failed", LOST: "was cut short"}
_HOUR = 3_600_000_000
_DAY = 24 * _HOUR
LEASE = 2 * _DAY
"""How long others believe that a retraining goes on, in microseconds: longer than its stages may take."""
_RECENT = 20


class MonitorConfig(Config):
    """When to retrain.

    Attributes:
        min_new_events: retrain once there are this many events that no training has seen.
        on_drift: what to do when the newest window has drifted from the champion's: ``retrain`` if there are new
            events to learn from (``alert`` if not), always ``alert``, or ``ignore``.
        drift_looks: in so many looks in a row, at new data each, the same check must have drifted.
        max_age_days: retrain if the champion is older; null is never.
        min_unknown_share: retrain if this share of the new events is about items that the champion does not know.
        min_unknown_events: fewest new events for that share to mean anything.
        max_click_loss: retrain if the share of what the champion shows that is acted on, at the same places of its
            slates, has surely fallen by this share.
        cooldown_hours: no retraining within this time after the last one began, unless a person asks.
    """

    min_new_events: int = Field(default=1000, ge=1, description="Events not learned from that call for retraining.")
    on_drift: Answer = Field(default="retrain", description="What drift leads to.")
    drift_looks: int = Field(default=1, ge=1, description="Looks in a row that must have found drift.")
    max_age_days: float | None = Field(default=None, gt=0, description="Days of age after which to retrain.")
    min_unknown_share: float = Field(default=0.2, gt=0, le=1, description="Share of new events on unknown items.")
    min_unknown_events: int = Field(default=200, ge=1, description="Fewest new events for that share.")
    max_click_loss: float = Field(default=0.2, gt=0, le=1, description="Share of the click rate that may be lost.")
    cooldown_hours: float = Field(default=1.0, ge=0, description="Hours between two retrainings.")


@dataclass(frozen=True, kw_only=True)
class ClickRates:
    """How often what a champion shows was acted on when it was new and lately, at the same places of its slates.

    Attributes:
        before: share of what it showed, when it was new; each place counts as `loop.clicks` weights it.
        lately: the same of the newest slates, with the same weights.
        loss: ``1 - lately / before``.
        surely: the lower bound of the loss's 95% interval.
    """

    before: float
    lately: float
    loss: float
    surely: float


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What a look at the loop has found.

    Attributes:
        new_events: events that no training has seen.
        watermark: the `seq` of the store up to which that was counted.
        drift: verdict of the drift stage; `None` if there is nothing yet that could drift.
        drift_looks: in how many looks in a row, with this one, the same check has drifted.
        age_days: how old the champion is, see `age_days`; `None` without one.
        unknown_share: share of the new events about items that the champion does not know, if it is known.
        clicks: how the champion's slates fare, if enough were served.
        asked_by: who asks for retraining, if anybody.
    """

    new_events: int
    watermark: int
    drift: str | None = None
    drift_looks: int = 0
    age_days: float | None = None
    unknown_share: float | None = None
    clicks: ClickRates | None = None
    asked_by: str | None = None


@dataclass(frozen=True, kw_only=True)
class Flight:
    """The last retraining.

    Attributes:
        seq: of its record.
        begun: when, microseconds since 1970 UTC.
        state: ``begun`` while it is under way, else ``done``, ``failed`` or ``lost``, for one whose process died.
        answers: the decision that it answers, if any.
    """

    seq: int
    begun: int
    state: str
    answers: int | None


@dataclass(frozen=True, kw_only=True)
class Trigger:
    """One figure against its bound.

    Attributes:
        name: of the trigger.
        value: what was found; `None` if unknown.
        bound: from where on it fires, as text.
        fires: whether it does.
        sentence: all of that for a person.
    """

    name: str
    value: float | str | None
    bound: str
    fires: bool
    sentence: str


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The verdict of a look, and why."""

    verdict: Verdict
    reasons: list[str]
    triggers: list[Trigger]
    inputs: Inputs
    rules: dict[str, Any]

    def record(self) -> dict[str, Any]:
        """All of it as JSON values; `new_events`, `drift` and `watermark` stand at the top too."""
        top = {"new_events": self.inputs.new_events, "drift": self.inputs.drift, "watermark": self.inputs.watermark}
        return asdict(self) | top


def decide(inputs: Inputs, config: MonitorConfig, *, now: int, flight: Flight | None = None) -> Outcome:
    """The verdict and its reasons.

    Args:
        inputs: what was found.
        config: the rules.
        now: microseconds since 1970 UTC.
        flight: the last retraining, if there was one.
    """
    triggers = [
        _new_events(inputs, config),
        _drift(inputs, config),
        _age(inputs, config),
        _unknown(inputs, config),
        _clicks(inputs, config),
    ]
    firing = [trigger for trigger in triggers if trigger.fires]
    reasons = [trigger.sentence for trigger in triggers if trigger.fires or trigger.name in {"new_events", "drift"}]

    verdict, more = _whatever_fires(inputs, flight) or _by_what_fires(firing, inputs, config, now, flight)
    return Outcome(
        verdict=verdict,
        reasons=reasons + more,
        triggers=triggers,
        inputs=inputs,
        rules=config.model_dump(mode="json"),
    )


def _whatever_fires(inputs: Inputs, flight: Flight | None) -> tuple[Verdict, list[str]] | None:
    """The verdict, and a reason, where the triggers do not matter."""
    if flight is not None and flight.state == BEGUN:
        return "wait", ["A retraining is under way, and one at a time is enough."]
    if inputs.asked_by is not None:
        return "retrain", [f"{inputs.asked_by} asks for it."]
    return None


def _by_what_fires(
    firing: Sequence[Trigger], inputs: Inputs, config: MonitorConfig, now: int, flight: Flight | None
) -> tuple[Verdict, list[str]]:
    ended = _UNDONE.get(flight.state) if flight is not None else None
    why = [f"The last retraining {ended}, so what it was for is not done."] if ended else []
    if not firing and not ended:
        return "wait", []
    if not inputs.new_events and not ended:
        return "alert", ["There is nothing new to learn from, so retraining would not help."]
    if not ended and all(trigger.name == "drift" for trigger in firing) and config.on_drift == "alert":
        return "alert", []
    waited = None if flight is None else (now - flight.begun) / _HOUR
    if waited is not None and waited < config.cooldown_hours:
        rest = f"within the {config.cooldown_hours:g} of rest"
        return "wait", [*why, f"The last retraining began {waited:.1f} hours ago, {rest}."]
    return "retrain", why


def owner(root: Path) -> str:
    """Who works on a project: the same for the same folder of the same machine; tells neither."""
    return blake2b(f"{platform.node()}\0{root.resolve()}".encode(), digest_size=8).hexdigest()


def last_flight(store: Store, project: str, *, now: int) -> Flight | None:
    """The last retraining.

    Args:
        store: where it is recorded.
        project: the `owner` of the project whose lock the caller holds.
        now: microseconds since 1970 UTC.
    """
    return _flight(store.decisions(limit=_RECENT, kind=RETRAIN), project, now)


def begin(store: Store, answers: int | None, project: str, *, now: int) -> int | None:
    """Record that a retraining begins, unless one is under way; `seq` of the record, which `end` wants.

    Args:
        store: where it is recorded.
        answers: `seq` of the decision that it answers, if any.
        project: the `owner` of the project whose lock the caller holds.
        now: microseconds since 1970 UTC.
    """

    def free(rows: Sequence[Decision]) -> bool:
        flight = _flight(rows, project, now)
        return flight is None or flight.state != BEGUN

    row = store.decide_if(RETRAIN, BEGUN, {"answers": answers, "project": project}, free)
    return None if row is None else row.seq


def end(store: Store, seq: int, state: Literal["done", "failed"], outcome: str) -> None:
    """Record how the retraining of `begin` ended."""
    store.decide(RETRAIN, state, {"begun": seq, "outcome": outcome})


def open_request(store: Store) -> Decision | None:
    """The last decision to retrain, if no retraining has answered it yet and the monitor has not changed its mind."""
    latest = next(iter(store.decisions(limit=1, kind=MONITOR)), None)
    if latest is None or latest.verdict != "retrain":
        return None
    rows = store.decisions(limit=_RECENT, kind=RETRAIN)
    answered = any(row.verdict == DONE and row.record["begun"] > latest.seq for row in rows)
    return None if answered else latest


def age_days(store: Store, now: int) -> float | None:
    """How old the champion is, in days: since its bundle was put into traffic first, as canary, shadow or champion.

    That is when it was trained, but for the hours until then; who rolls back to a bundle does not make it younger. The
    time of its training is not kept in a bundle, whose bytes depend on nothing but its content, and the end of its
    training window says how old its data are, which may be years for a collection of old events.
    """
    champion = store.champion()
    if champion is None:
        return None
    return (now - min(row.timestamp for row in store.deployments() if row.bundle == champion.bundle)) / _DAY


def _flight(rows: Sequence[Decision], project: str, now: int) -> Flight | None:
    """The last retraining of these records, newest first."""
    begun = next((row for row in rows if row.verdict == BEGUN), None)
    if begun is None:
        return None
    ended = next((row for row in rows if row.record.get("begun") == begun.seq), None)
    if ended is not None:
        state = ended.verdict
    else:
        own = begun.record["project"] == project
        state = LOST if own or now - begun.timestamp > LEASE else BEGUN
    return Flight(seq=begun.seq, begun=begun.timestamp, state=state, answers=begun.record["answers"])


def _new_events(inputs: Inputs, config: MonitorConfig) -> Trigger:
    enough = inputs.new_events >= config.min_new_events
    bound = f"{'at least' if enough else 'fewer than'} {config.min_new_events:,}"
    return Trigger(
        name="new_events",
        value=inputs.new_events,
        bound=f"at least {config.min_new_events:,}",
        fires=enough,
        sentence=f"{inputs.new_events:,} new events, {bound}.",
    )


def _drift(inputs: Inputs, config: MonitorConfig) -> Trigger:
    found = inputs.drift == "drift"
    often = inputs.drift_looks >= config.drift_looks
    if inputs.drift is None:
        sentence = "Drift is not known: no model has been trained yet."
    elif not found:
        sentence = f"Drift: {inputs.drift}."
    else:
        sentence = "The newest window has drifted from what the champion was trained on."
        if config.drift_looks > 1:
            sentence += f" Looks in a row: {inputs.drift_looks}, of {config.drift_looks} wanted."
    return Trigger(
        name="drift",
        value=inputs.drift,
        bound=f"drift in {config.drift_looks} looks in a row",
        fires=found and often and config.on_drift != "ignore",
        sentence=sentence,
    )


def _age(inputs: Inputs, config: MonitorConfig) -> Trigger:
    most, age = config.max_age_days, inputs.age_days
    old = most is not None and age is not None and age > most
    known = "there is no champion" if age is None else f"{age:.1f} days"
    return Trigger(
        name="age",
        value=age,
        bound="never" if most is None else f"more than {most:g} days",
        fires=old,
        sentence=f"The champion is {known} old, above {most} days." if old else f"Age: {known}.",
    )


def _unknown(inputs: Inputs, config: MonitorConfig) -> Trigger:
    share = inputs.unknown_share
    enough = inputs.new_events >= config.min_unknown_events
    fires = share is not None and enough and share >= config.min_unknown_share
    if share is None:
        sentence = "How many of the new events are about items that the champion does not know is unknown."
    elif not share:
        sentence = "The champion knows all items of the new events."
    else:
        sentence = f"{share:.0%} of the new events are about items that the champion does not know."
    return Trigger(
        name="unknown_items",
        value=share,
        bound=f"at least {config.min_unknown_share:.0%} of at least {config.min_unknown_events:,} events",
        fires=fires,
        sentence=sentence,
    )


def _clicks(inputs: Inputs, config: MonitorConfig) -> Trigger:
    clicks = inputs.clicks
    fires = clicks is not None and clicks.surely >= config.max_click_loss
    return Trigger(
        name="clicks",
        value=None if clicks is None else round(clicks.loss, 4),
        bound=f"surely at least {config.max_click_loss:.0%} lost",
        fires=fires,
        sentence="How the champion's slates fare is not known: too few were served, or acted on when it was new."
        if clicks is None
        else f"{clicks.lately:.1%} of what the champion shows is acted on, {clicks.before:.1%} at the same places when "
        f"it was new: {clicks.loss:.0%} lost, surely {max(0.0, clicks.surely):.0%}.",
    )
