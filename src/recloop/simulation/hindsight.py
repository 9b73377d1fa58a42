"""Models retrained every morning by somebody who knows when tastes have moved: what the loop is measured against.

Each model of the field is fitted to all events so far, and, once tastes have moved, also to those since, as if nothing
had been before; nothing is held out, and a person's every event counts at once. What each would have earned that day is
known for a crowd whose tastes are known. The best of them, day by day, is the *oracle-retrained* model: no rule for
retraining can know more.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from recloop.columns import ITEM, TIME, USER
from recloop.data.sequences import Contexts
from recloop.data.vocabulary import UNKNOWN, Vocabulary
from recloop.evaluation.contenders import fit
from recloop.models.base import Model
from recloop.simulation.crowd import Visit, frame_of
from recloop.simulation.tastes import TasteCrowd
from recloop.store import Event


@dataclass(frozen=True)
class Rival:
    """A fitted model that answers visitors whose past is known to the last event.

    Attributes:
        model: the model.
        catalogue: what it knows.
        since: from when on events count, microseconds since 1970 UTC.
    """

    model: Model
    catalogue: Vocabulary
    since: int = 0

    @cached_property
    def items(self) -> NDArray[np.int64]:
        """The catalogue as numbers of the world's items, (n,)."""
        return np.array([int(item[1:]) for item in self.catalogue.ids], dtype=np.int64)

    def slate(self, past: Sequence[tuple[str, int]], had: NDArray[np.bool_], k: int) -> NDArray[np.int64]:
        """The best `k` items, as numbers of the world.

        Args:
            past: items and moments, in time order.
            had: which of the world's items not to show, (I,).
            k: how many.
        """
        moments = np.array([moment for _, moment in past], dtype=np.int64)
        items = self.catalogue.encode([item for item, _ in past])
        known = (items != UNKNOWN) & (moments >= self.since)
        context = Contexts(
            offsets=np.array([0, known.sum()]),
            items=items[known],
            timestamps=moments[known],
            values=np.ones(known.sum(), dtype=np.float32),
        )
        with torch.inference_mode():
            scores = self.model.score(context)[0].cpu().numpy()
        order = np.argsort(-np.where(had[self.items], -np.inf, scores), kind="stable")
        return self.items[order[:k]]


class Hindsight:
    """The rivals of one day, and what they have earned on it so far.

    Histories go on during the day, as they do in the service.

    Args:
        crowd: whose tastes are known.
        training: the section ``train`` of the project's parameters.
    """

    def __init__(self, crowd: TasteCrowd, training: Mapping[str, Any]) -> None:
        self._crowd, self._training = crowd, training
        self._events: list[pl.DataFrame] = []
        self._histories: dict[str, list[tuple[str, int]]] = {}
        self._rivals: dict[str, Rival] = {}
        self._earned: dict[str, list[float]] = {}
        self._remember(crowd.past().interactions)

    def morning(self, day: int) -> None:
        """Fit the field anew."""
        events, shift = pl.concat(self._events), self._crowd.config.shift
        moments = {"all events": 0}
        if shift is not None and day > shift:
            moments["events since tastes moved"] = self._crowd.begins(shift)
        self._earned = {}
        self._rivals = {
            f"{model}, {name}": self._fitted(model, events.filter(pl.col(TIME).cast(pl.Int64) >= since), since)
            for name, since in moments.items()
            for model in self._training["models"]
        }

    def asked(self, visit: Visit) -> None:
        """What each rival's slate is worth to a visitor."""
        user = int(visit.user_id[1:])
        appeal, had = self._crowd.appeal(user, visit.moment), self._crowd.had[user]
        past = self._histories.get(visit.user_id, [])
        for name, rival in self._rivals.items():
            slate = rival.slate(past, had, self._crowd.config.slate)
            self._earned.setdefault(name, []).append(float(self._crowd.watched[: len(slate)] @ appeal[slate]))

    def learn(self, acts: Sequence[Event]) -> None:
        """Remember what people did."""
        self._remember(frame_of(acts))

    def evening(self) -> dict[str, float]:
        """The mean reward of each rival on this day."""
        return {name: float(np.mean(earned)) for name, earned in self._earned.items()}

    def _remember(self, events: pl.DataFrame) -> None:
        self._events.append(events)
        for user, item, moment in events.select(USER, ITEM, pl.col(TIME).cast(pl.Int64)).iter_rows():
            self._histories.setdefault(user, []).append((item, moment))

    def _fitted(self, name: str, events: pl.DataFrame, since: int) -> Rival:
        model, catalogue = fit(name, self._training.get(name), events, device=torch.device("cpu"))
        return Rival(model, catalogue, since)
