"""Ensemble: several trained models decide together.

Reciprocal ranks as in Cormack, Clarke and Büttcher, "Reciprocal rank fusion outperforms Condorcet and individual rank
learning methods", SIGIR 2009; learned weights as in Sill et al., "Feature-weighted linear stacking", arXiv 2009, here
without the weights' features.
Shapes: B contexts, I items, M members, Q questions, C candidates of a question.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field, field_validator
from torch import Tensor
from typing_extensions import override

from recloop.config import Config, parse
from recloop.data.sequences import Contexts, Examples
from recloop.data.vocabulary import UNKNOWN
from recloop.errors import ModelError
from recloop.models.base import FitContext, Model, ModelConfig, TrainingData, check_needs, silent
from recloop.nn.fusion import conditional_logit, reciprocal_ranks, standardised

_QUESTIONS, _BATCH, _NEAR_TOP = 2000, 256, 100


class Member(Config):
    """One of the models of an `Ensemble`; a plain name stands for a member with that name.

    Attributes:
        name: of the model.
        parameters: its own; the others have their defaults.
        weight: its share in the decision; for ``stacked``, where learning starts from and is drawn to.
    """

    name: str
    parameters: dict[str, Any] = Field(default_factory=dict)
    weight: float = Field(default=1.0, ge=0)


class EnsembleConfig(ModelConfig):
    """Parameters of `Ensemble`.

    Attributes:
        members: names of models, or mappings with `name`, `parameters` and `weight`.
        method: how members decide: ``weighted``, ``reciprocal_rank`` or ``stacked``; see `Ensemble`.
        rank_constant: added to a place before its reciprocal is taken: the larger, the less the first places stand out.
        regularization: how strongly learned weights are drawn to the members' own.
    """

    members: tuple[Member, ...] = Field(
        default=(Member(name="ease"), Member(name="als"), Member(name="item_knn")), min_length=1
    )
    method: Literal["weighted", "reciprocal_rank", "stacked"] = "reciprocal_rank"
    rank_constant: float = Field(default=60.0, ge=0)
    regularization: float = Field(default=1.0, gt=0)

    @field_validator("members", mode="before")
    @classmethod
    def _names_are_members(cls, listed: Any) -> Any:
        if not isinstance(listed, list | tuple):
            return listed
        return tuple({"name": member} if isinstance(member, str) else member for member in listed)


class Ensemble(Model[EnsembleConfig]):
    """Score of item i = ``sum_m w_m f_m(i)`` over the members m.

    For ``weighted`` and ``stacked``, ``f_m(i)`` is the member's score, less the mean and over the deviation of its
    scores of the catalogue for that context; for ``reciprocal_rank`` it is ``1 / (rank_constant + place of i)``, with
    places from 1. The ``w_m`` are the members' `weight`, or learned for ``stacked``: they maximise the
    log-likelihood of a softmax over the unseen items that any member has among its first 100, for questions whose
    answer is among them, people counting alike, less ``regularization / 2 * |w - weight|^2``.

    Questions come from the validation part, at most 2,000 of them, evenly spaced; so figures of that part flatter a
    stacked ensemble a little. Where there is none, they ask for the last event of each training history, by members
    that learned from the others alone; after it, members learn from everything. The test part is never looked at.
    Members are trained as their parameters say, without early stopping. An empty history gets what they answer to it.
    """

    Config = EnsembleConfig

    def __init__(self, config: EnsembleConfig, n_items: int, device: torch.device | None = None) -> None:
        super().__init__(config, n_items, device)
        self._members = self._new_members()

    @override
    def fit(self, data: TrainingData, context: FitContext) -> None:
        for member in self._members:
            check_needs(type(member), data)
        weights = torch.tensor([member.weight for member in self.config.members], dtype=torch.float64)
        stacked = self.config.method == "stacked"
        if stacked and data.valid is None:
            earlier, questions = _last_events(data.histories)
            self._train(replace(data, histories=earlier), context)
            weights = self._learnt(questions, weights)
            self._members = self._new_members()
        self._train(data, context)
        if stacked and data.valid is not None:
            weights = self._learnt(data.valid, weights)
        self._weights = weights.float().to(self.device)

    @override
    def score(self, contexts: Contexts) -> Tensor:
        total = torch.zeros(len(contexts), self.n_items, dtype=torch.float64, device=self.device)
        for member, weight in zip(self._members, self._weights, strict=True):
            scores = member.score(contexts)
            if self.config.method == "reciprocal_rank":
                total += weight * reciprocal_ranks(scores, self.config.rank_constant)
            else:
                total += weight * standardised(scores)
        return total.float()

    @override
    def tensors(self) -> dict[str, Tensor]:
        found = {"weights": self._weights}
        for prefix, member in zip(self._prefixes(), self._members, strict=True):
            found |= {prefix + name: tensor for name, tensor in member.tensors().items()}
        return found

    @override
    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        self._weights = self._tensor(tensors, "weights", (len(self._members),))
        for prefix, member in zip(self._prefixes(), self._members, strict=True):
            own = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
            member.load_tensors(own)

    def _new_members(self) -> list[Model]:
        from recloop.models import find

        members: list[Model] = []
        for index, member in enumerate(self.config.members):
            kind = find(member.name)
            if kind is Ensemble:
                raise ModelError("An ensemble cannot be a member of an ensemble; name its members instead.")
            config = parse(kind.Config, member.parameters, f"ensemble: members.{index}.parameters")
            members.append(kind(config, self.n_items, self.device))
        return members

    def _prefixes(self) -> list[str]:
        """What the names of each member's tensors begin with; members may share a name."""
        return [f"{index}.{member.name}." for index, member in enumerate(self.config.members)]

    def _train(self, data: TrainingData, context: FitContext) -> None:
        for member in context.progress(self._members, self.name()):
            member.fit(data, replace(context, progress=silent))

    def _learnt(self, asked: Examples, prior: Tensor) -> Tensor:
        """Weights of the members by which the answers to the questions are likeliest, float64 (M,)."""
        firsts, stops = asked.offsets[:-1], asked.offsets[1:]
        rows = np.flatnonzero(firsts < stops)
        rows = rows[asked.targets[firsts[rows]] != UNKNOWN]
        rows = rows[np.linspace(0, len(rows), min(len(rows), _QUESTIONS), endpoint=False).astype(np.int64)]
        parts = [self._question(asked.take(rows[start : start + _BATCH])) for start in range(0, len(rows), _BATCH)]
        if not parts:
            return prior
        features, allowed, answers, users = (torch.cat(part).cpu() for part in zip(*parts, strict=True))
        counts = torch.bincount(users)
        shares = 1 / counts[users].double()
        return conditional_logit(features, allowed, answers, shares, prior=prior, ridge=self.config.regularization)

    def _question(self, asked: Examples) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Features (Q, C, M), presence (Q, C), the answer's place (Q,) and whose question it is (Q,).

        Questions whose answer is no candidate are left out.
        """
        contexts = asked.contexts(0, len(asked))
        seen = torch.from_numpy(contexts.matrix(self.n_items).toarray() > 0).to(self.device)
        scores = [member.score(contexts) for member in self._members]
        near = [one.masked_fill(seen, -torch.inf).topk(min(_NEAR_TOP, self.n_items), dim=1).indices for one in scores]
        items = torch.cat(near, dim=1).sort(dim=1).values
        allowed = ~seen.gather(1, items)
        allowed[:, 1:] &= items[:, 1:] != items[:, :-1]
        right = allowed & (items == torch.from_numpy(asked.targets[asked.offsets[:-1]]).to(self.device)[:, None])
        found = right.any(dim=1)
        features = torch.stack([standardised(one).gather(1, items) for one in scores], dim=2)
        users = torch.from_numpy(asked.users).to(self.device)
        return features[found], allowed[found], right[found].long().argmax(dim=1), users[found]


def _last_events(histories: Contexts) -> tuple[Contexts, Examples]:
    """Histories of two events or more without their last, the others as they are; and questions for the last events."""
    rows = np.flatnonzero(histories.lengths > 1)
    lengths = histories.lengths.copy()
    lengths[rows] -= 1
    last = histories.offsets[rows + 1] - 1
    return histories.take(np.arange(len(histories)), lengths), Examples(
        histories=histories,
        users=rows,
        stops=lengths[rows],
        offsets=np.arange(len(rows) + 1),
        targets=histories.items[last],
        values=histories.values[last],
    )
