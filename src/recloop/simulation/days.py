"""Living through the days of one regime."""

import os
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import polars as pl

from recloop import clock, processes
from recloop.data.tables import write_json, write_parquet
from recloop.errors import RecloopError
from recloop.simulation.crowd import Crowd
from recloop.simulation.hindsight import Hindsight
from recloop.simulation.nights import Night, Nights
from recloop.simulation.site import Site
from recloop.store import URL_VARIABLE, Store
from recloop.turn import service

VISITS = "visits.parquet"
NIGHTS = "nights.json"
HINDSIGHT = "hindsight.json"
_START_SECONDS = 300.0
_LOGGED_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class Lived:
    """One visit: who asked on which day, who answered, and what the slate was worth."""

    day: int
    user_id: str
    bundle: str
    fallback: str | None
    reward: float
    best: float
    acts: int


def live(
    crowd: Crowd,
    project: Path,
    regime: str,
    *,
    k: int,
    hindsight: Hindsight | None = None,
    tell: Callable[[str], None] = print,
) -> None:
    """Live through all days in a project, and write `VISITS`, `NIGHTS` and `HINDSIGHT` into it.

    Args:
        crowd: who uses the service.
        project: from `project.make`.
        regime: see `Nights`.
        k: length of slates.
        hindsight: what to compare with, if the crowd's tastes are known.
        tell: is told what happens.

    Raises:
        RecloopError: a server did not start, a flow failed, or the service refused something.
    """
    lived: list[Lived] = []
    earned: list[dict[str, float]] = []
    with _environment(project), ExitStack() as stack:
        dial = project / "clock"
        clock.stand(dial, crowd.begins(0))
        api = stack.enter_context(_flows(project))
        store = stack.enter_context(Store.open(root=project))
        nights = Nights(project, api, store, regime)
        told = [nights.first_model()]
        tell(f"{regime}: {told[0].model} is in charge")
        url = stack.enter_context(service(project)).url
        site = stack.enter_context(Site(url, k))
        for day in range(crowd.days):
            site.follow(told[-1].bundle)
            if hindsight:
                hindsight.morning(day)
            today = _day(crowd, site, day, dial, hindsight)
            lived += today
            if hindsight:
                earned.append(hindsight.evening())
            clock.stand(dial, crowd.begins(day + 1) - 1)
            _wait_for_slates(store, len(lived))
            told.append(nights.after(day))
            tell(_sentence(regime, today, told[-1]))
    write_parquet(as_table(lived), project / VISITS)
    write_json({"nights": [asdict(night) for night in told]}, project / NIGHTS)
    if hindsight:
        write_json({"days": earned}, project / HINDSIGHT)


def as_table(lived: Sequence[Lived]) -> pl.DataFrame:
    """One row a visit."""
    return pl.DataFrame([asdict(visit) for visit in lived], infer_schema_length=None)


def _day(crowd: Crowd, site: Site, day: int, dial: Path, hindsight: Hindsight | None) -> list[Lived]:
    """People ask and act."""
    lived: list[Lived] = []
    for visit in crowd.visits(day):
        clock.stand(dial, visit.moment)
        own = crowd.unasked(day, visit.moment)
        site.feedback(own)
        shown = site.recommend(visit)
        if hindsight:
            hindsight.learn(own)
            hindsight.asked(visit)
        answer = crowd.answer(visit, shown.request_id, shown.items)
        site.feedback(answer.acts)
        if hindsight:
            hindsight.learn(answer.acts)
        lived.append(
            Lived(
                day=day,
                user_id=visit.user_id,
                bundle=shown.bundle,
                fallback=shown.fallback,
                reward=answer.reward,
                best=answer.best,
                acts=len(answer.acts),
            )
        )
    clock.stand(dial, crowd.begins(day + 1) - 1)
    late = crowd.unasked(day, crowd.begins(day + 1))
    site.feedback(late)
    if hindsight:
        hindsight.learn(late)
    return lived


@contextmanager
def _environment(project: Path) -> Generator[None]:
    """This process and all that it starts work on the project, by its clock, with its store and its Prefect."""
    before = dict(os.environ)
    try:
        for name in [name for name in os.environ if name.startswith("PREFECT_")]:
            del os.environ[name]
        os.environ |= {
            clock.VARIABLE: str(project / "clock"),
            URL_VARIABLE: f"sqlite:///{project}/recloop.sqlite",
            "PREFECT_HOME": str(project / ".prefect"),
            "RECLOOP_ROOT": str(project),
        }
        yield
    finally:
        os.environ.clear()
        os.environ |= before


@contextmanager
def _flows(project: Path) -> Generator[str]:
    """The project's flows on a Prefect server of their own, as ``make ui`` runs them; the address of its API."""
    port = processes.free_port()
    command = [sys.executable, "-m", "flows.serve", "--with-server", "--port", str(port)]
    log = project / "flows.log"
    api = f"http://{processes.LOCALHOST}:{port}/api"
    with (
        log.open("wb") as output,
        processes.running(command, folder=project, env=processes.environment(), output=output) as process,
    ):
        if not processes.answers(f"{api}/deployments/name/tune/default", process, _START_SECONDS):
            raise RecloopError(f"The flows were not served ({processes.last_lines(log, 3)}); {log} says more.")
        yield api


def _wait_for_slates(store: Store, count: int) -> None:
    """The service logs slates in batches; the night begins when all are there."""
    deadline = time.monotonic() + _LOGGED_SECONDS
    while (logged := store.last_slate_seq()) < count:
        if time.monotonic() > deadline:
            raise RecloopError(f"The store holds {logged} of {count} slates; the service's log says why.")
        time.sleep(0.1)


def _sentence(regime: str, today: list[Lived], night: Night) -> str:
    rewards = [visit.reward for visit in today if visit.reward == visit.reward]
    mean = sum(rewards) / max(1, len(rewards))
    parts = [f"{regime}, day {night.day}: {len(today)} visits, reward {mean:.4f}"]
    if night.verdict:
        parts.append(f"{night.verdict} ({', '.join(night.drifted)})" if night.drifted else night.verdict)
    if night.retrained:
        parts.append(f"retrained, {night.model} in charge")
    return "; ".join(parts)
