"""A worker's part in the traffic plan: which recommender answers a request, followed in the store while it serves.

One thread asks the store about once a second; when the plan has changed, it loads the bundles that are new and swaps
all of them in by one assignment. A request takes the state once and keeps it to its end, so none is dropped, and an
old bundle is freed when its last request ends. While the store is away, and while a new champion cannot be loaded, the
state stays as it is; a challenger that cannot be loaded is left out. All of this is tried again.

Another thread scores the shadow: requests wait for it in a bounded queue; one that finds it full is not scored.
"""

import gc
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import Empty, Full, Queue
from threading import Event, Lock, Thread
from typing import Any, Literal

from pydantic import Field

from recloop.config import Config
from recloop.errors import RecloopError
from recloop.serving import counters
from recloop.serving.bundle import Bundle, packaged_until
from recloop.serving.clicks import ClickStatistics
from recloop.serving.live import LiveHistories
from recloop.serving.recommender import Recommender
from recloop.store import Store
from recloop.store.traffic import TrafficPlan, arm

BUNDLES = Path("artifacts/bundles")
GARBAGE = (10_000, 20, 50)
"""After how many new objects, young collections and middle ones the next kind of collection comes."""
_log = logging.getLogger("bentoml.recloop")


class FollowConfig(Config):
    """How a worker follows the plan.

    Attributes:
        poll_seconds: pause between two looks at the store.
        shadow_requests: that wait for the shadow at most.
        close_seconds: how long `close` waits for each thread.
    """

    poll_seconds: float = Field(default=1.0, gt=0)
    shadow_requests: int = Field(default=100, ge=1)
    close_seconds: float = Field(default=5.0, ge=0)


@dataclass(frozen=True, kw_only=True)
class Served:
    """What a worker serves at one moment.

    Attributes:
        plan: what it was made of; empty where nothing is deployed, or the bundle is pinned.
        recommenders: of each bundle in traffic, by id.
        only: who answers everybody where there is no plan.
    """

    plan: TrafficPlan = field(default_factory=TrafficPlan)
    recommenders: dict[str, Recommender] = field(default_factory=dict[str, Recommender])
    only: Recommender | None = None

    @property
    def champion(self) -> Recommender | None:
        """Who answers where no canary does; `None` if nothing is loaded."""
        return self.only if self.plan.champion is None else self.recommenders[self.plan.champion.bundle]

    @property
    def shadow(self) -> Recommender | None:
        """Who scores besides."""
        return self.plan.shadow and self.recommenders[self.plan.shadow.bundle]

    @property
    def parts(self) -> set[tuple[str, str, str]]:
        """Each bundle's id, model and part in the traffic."""
        canary = self.plan.canary and self.recommenders[self.plan.canary.bundle]
        named = (("champion", self.champion), ("canary", canary), ("shadow", self.shadow))
        return {(one.bundle.id, str(one.bundle.manifest["model"]), part) for part, one in named if one}

    def choose(
        self, user_id: str | None, request_id: str
    ) -> tuple[Literal["champion", "canary", "interleaved"], Recommender | None]:
        """Which arm a request belongs to, and who answers it, or has a part in the answer besides the champion."""
        chosen = arm(self.plan, user_id, request_id)
        if chosen != "champion" and self.plan.canary:
            return chosen, self.recommenders[self.plan.canary.bundle]
        return "champion", self.champion


class Traffic:
    """What a worker serves now: `served`, replaced as a whole when the plan changes.

    Args:
        open_store: connects to the store; called in the thread that follows it and after the connection was lost.
        root: the project's root, where `artifacts/bundles` lies.
        default: the folder of the bundle to serve while nothing is deployed.
        pinned: serve `default` whatever the store says.
        erased: see `Recommender`.
        live: what people did since; it is told from when on that is wanted.
        clicks: what they clicked, shared by all bundles; started when a policy that learns from it is served.
        config: sizes and times.
    """

    def __init__(
        self,
        open_store: Callable[[], Store],
        *,
        root: Path,
        default: Path,
        pinned: bool = False,
        erased: Callable[[str], int | None] | None = None,
        live: LiveHistories | None = None,
        clicks: ClickStatistics | None = None,
        config: FollowConfig | None = None,
    ) -> None:
        self.pinned = pinned
        self._erased, self._live, self._clicks = erased, live, clicks
        self.served = Served()
        self._open_store, self._root, self._default = open_store, root, default
        self._config = config or FollowConfig()
        self._store: Store | None = None
        self._changing = Lock()
        self._said = ""
        self._closing = Event()
        self._shadowed: Queue[Callable[[Recommender], object]] = Queue(self._config.shadow_requests)
        self.look()
        self._threads = [Thread(target=self._score_shadows, name="shadow", daemon=True)]
        if not pinned:
            self._threads.append(Thread(target=self._follow, name="traffic", daemon=True))
        for thread in self._threads:
            thread.start()

    def look(self) -> Served:
        """Serve what the plan says now; on any failure, what was served before."""
        with self._changing:
            try:
                before = self.served
                self._change(TrafficPlan() if self.pinned else self._connected().traffic())
                if self.served is not before:
                    self._reach_back()
                    settle()
                    counters.show_bundles(before.parts, self.served.parts)
            except RecloopError as error:
                self._complain(f"The traffic stays as it is: {error}")
                if self._store is not None:
                    self._store.close()
                    self._store = None
                if self.served.champion is None:
                    self._fall_back()
                    self._reach_back()
                    settle()
                    counters.show_bundles(set(), self.served.parts)
            return self.served

    def shadow(self, score: Callable[[Recommender], object]) -> bool:
        """Have the shadow asked later, if there is one; False if the queue is full or there is none."""
        if self.served.shadow is None:
            return False
        try:
            self._shadowed.put_nowait(score)
        except Full:
            return False
        return True

    def close(self) -> None:
        """End both threads; what waits for the shadow is not scored."""
        self._closing.set()
        for thread in self._threads:
            thread.join(self._config.close_seconds)
        if self._store is not None:
            self._store.close()

    def state(self) -> dict[str, Any]:
        """The plan and what is loaded, as JSON values."""
        served = self.served
        champion, canary, shadow = served.plan.champion, served.plan.canary, served.plan.shadow
        only = served.champion
        return {
            "pinned": self.pinned,
            "champion": only.bundle.id if only else None,
            "since": champion.timestamp if champion else None,
            "canary": canary
            and {
                "bundle": canary.bundle,
                "share": canary.share,
                "interleaved": canary.interleaved,
                "since": canary.since,
            },
            "shadow": {"bundle": shadow.bundle, "since": shadow.since} if shadow else None,
        }

    def _change(self, plan: TrafficPlan) -> None:
        before = self.served
        if plan == before.plan and before.champion is not None:
            self._said = ""
            return
        if plan.champion is None:
            if before.only is None:
                self.served = Served(only=self._load(self._default))
            return
        loaded = before.recommenders | ({before.only.bundle.id: before.only} if before.only else {})
        champion = plan.champion.bundle
        wanted = {champion: loaded.get(champion) or self._load(self._kept(champion))}
        for challenger in sorted(plan.bundles - {champion}):
            try:
                wanted[challenger] = loaded.get(challenger) or self._load(self._kept(challenger))
            except RecloopError as error:
                self._complain(f"A challenger is left out: {error}")
        plan = replace(
            plan,
            canary=plan.canary if plan.canary and plan.canary.bundle in wanted else None,
            shadow=plan.shadow if plan.shadow and plan.shadow.bundle in wanted else None,
        )
        if plan == before.plan:
            return
        self.served = Served(plan=plan, recommenders=wanted)
        _log.info(
            "Serving %s.", ", ".join(f"{one.bundle.id} ({one.bundle.manifest['model']})" for one in wanted.values())
        )

    def _fall_back(self) -> None:
        """Before the plan could be followed once: the bundle that would be served without one."""
        try:
            self.served = Served(only=self._load(self._default))
        except RecloopError as error:
            self._complain(f"Not ready: {error}")

    def _kept(self, bundle: str) -> Path:
        return self._root / BUNDLES / bundle

    def _load(self, folder: Path) -> Recommender:
        recommender = Recommender(Bundle.load(folder), clicks=self._clicks, erased=self._erased, live=self._live)
        if self._clicks is not None and recommender.learns:
            self._clicks.start()
        return recommender

    def _reach_back(self) -> None:
        """Follow what people did since the oldest served bundle was packaged."""
        if self._live is None:
            return
        served = [*self.served.recommenders.values(), *([self.served.only] if self.served.only else [])]
        known = (packaged_until(one.bundle.manifest) for one in served)
        self._live.reach(seq for seq in known if seq is not None)

    def _complain(self, sentence: str) -> None:
        if sentence != self._said:
            _log.error("%s", sentence)
        self._said = sentence

    def _follow(self) -> None:
        while not self._closing.wait(self._config.poll_seconds):
            try:
                self.look()
            except Exception:  # noqa: BLE001 - a thread that died would follow no longer
                _log.exception("The traffic stays as it is.")

    def _score_shadows(self) -> None:
        while not self._closing.is_set():
            try:
                score = self._shadowed.get(timeout=0.2)
            except Empty:
                continue
            shadow = self.served.shadow
            if shadow is None:
                continue
            try:
                score(shadow)
            except Exception:  # noqa: BLE001 - a thread that died would score no longer
                _log.exception("The shadow failed; nobody was shown it.")

    def _connected(self) -> Store:
        if self._store is None:
            self._store = self._open_store()
        return self._store


def settle() -> None:
    """Collect what has become garbage, and leave what is there now out of all later collections.

    A full collection looks at every object of every library and stops all requests meanwhile; what stays for as long
    as the process need not be looked at again.
    """
    gc.set_threshold(*GARBAGE)
    gc.unfreeze()
    gc.collect()
    gc.freeze()
