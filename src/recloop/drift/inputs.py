"""What a check may look at."""

from dataclasses import dataclass
from functools import cached_property

from recloop.data.vocabulary import Vocabulary
from recloop.drift.answers import Answers, answers
from recloop.drift.config import DriftConfig
from recloop.drift.held_out import Foretold, HeldOut, foretell
from recloop.drift.windows import Windows
from recloop.models.base import Model


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Two windows, and the model in charge.

    Attributes:
        windows: the events.
        config: what counts as drift.
        model: the champion and its catalogue; `None` if there is none.
        held_out: what it has not learned from; `None` if that is not looked at.
    """

    windows: Windows
    config: DriftConfig
    model: tuple[Model, Vocabulary] | None = None
    held_out: HeldOut | None = None

    @cached_property
    def answers(self) -> Answers | None:
        """What the model answers in either window, asked once for all checks; `None` if there is none."""
        return None if self.model is None else answers(self.windows, *self.model, self.config)

    @cached_property
    def foretold(self) -> Foretold | None:
        """How well the model foretells next items, asked once for all checks; `None` where that cannot be asked."""
        if self.model is None or self.held_out is None:
            return None
        return foretell(self.held_out, *self.model, self.config)
