"""IRGAN: a generator that draws items for people plays against a discriminator that tells them from real ones.

Wang, Yu, Zhang, Gong, Xu, Wang, Zhang and Zhang, "IRGAN: a minimax game for unifying generative and discriminative
information retrieval models", SIGIR 2017.
Shapes: B people, I items, D dimensions, K draws for each person, N events.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from typing_extensions import override

from recloop.data.sequences import Contexts
from recloop.models.base import FitContext, TrainingData
from recloop.models.neural import NeuralConfig, NeuralModel
from recloop.nn.autoencoders import Targets, cosines, multinomial_loss, with_one
from recloop.nn.histories import Bags, BagStore, HistoryEncoder
from recloop.nn.policies import advantages, draw, split
from recloop.search import Real, Space, Whole


class IRGANConfig(NeuralConfig):
    """Parameters of `IRGAN`.

    Attributes:
        dim: length of the vectors, D.
        pretraining: passes in which the generator learns by likelihood, before the game begins.
        negatives: items drawn for each person in a step of the game, K.
        mixture: share of the draws that the generator learns from which are real.
        game_learning_rate: of the generator in the game; `learning_rate` is for pre-training and the discriminator.
        epochs: most passes, those of pre-training among them.

    A training example is a person.
    """

    search: ClassVar[Mapping[str, Space]] = {
        "dim": Whole(16, 256, log=True),
        "learning_rate": Real(0.0005, 0.02, log=True),
        "game_learning_rate": Real(0.00005, 0.005, log=True),
        "pretraining": Whole(5, 60),
        "weight_decay": Real(0.001, 1, log=True),
    }

    dim: int = Field(default=64, ge=1)
    pretraining: int = Field(default=20, ge=0)
    negatives: int = Field(default=64, ge=1)
    mixture: float = Field(default=0.2, ge=0, lt=1)
    game_learning_rate: float = Field(default=0.003, gt=0)
    learning_rate: float = Field(default=0.005, gt=0)
    weight_decay: float = Field(default=0.1, ge=0)
    batch_size: int = Field(default=64, ge=1)
    epochs: int = Field(default=60, ge=1)


class _Scorer(nn.Module):
    """``p . v_i + b_i`` for a person's vector p, made of the history's items; each player is one."""

    def __init__(self, config: IRGANConfig, n_items: int) -> None:
        super().__init__()
        self.people = HistoryEncoder(n_items, config.dim)
        self.items = nn.Embedding(n_items, config.dim)
        self.bias = nn.Parameter(torch.empty(n_items))

    def initialise(self, generator: torch.Generator) -> None:
        """Normal vectors of deviation 0.1 / sqrt(D), zero biases."""
        for embedding in (self.people.items, self.items):
            nn.init.normal_(embedding.weight, std=0.1 * embedding.embedding_dim**-0.5, generator=generator)
        nn.init.zeros_(self.bias)

    def pairs(self, people: Tensor, items: Tensor) -> Tensor:
        """Logits of one item each, (N,), for `people` (N, D) and `items` (N,)."""
        return (people * self.items(items)).sum(dim=1) + nn.functional.embedding(items, self.bias[:, None])[:, 0]


class IRGAN(NeuralModel[IRGANConfig, _Scorer]):
    """Scores = ``p . v_i + b_i``: logits of the generator, a softmax over all items.

    In training each person is shown a random share of the history, drawn evenly from 0 to 1; the items left out are
    what the person really chose. For `pretraining` passes the generator G learns by the likelihood of these. Then both
    play. The discriminator ``D = sigmoid(d(person, item))`` learns to tell the chosen items from K that G draws:
    ``-mean log D(chosen) - mean log(1 - D(drawn))``. G is rewarded for what D takes for real: it minimises
    ``-mean_k w_k (r_k - r) log G(i_k)`` (REINFORCE) over K draws, with ``r_k = 2 D(i_k) - 1``, r their mean for the
    person, and draws from ``q = (1 - mixture) G + mixture * (chosen at random)``, whose weights are ``w = G / q``. D
    learns in all passes, so that it can judge when the game begins. An empty history gets the biases, since p is 0.

    What differs from the paper: a person has no learned vector but is the power-normalised sum of vectors of the
    history (Kabbur et al., FISM, KDD 2013), so strangers can be scored; the items to predict are never in that sum; D
    and G take a step each in turn on every batch, by Adam, and G's mean reward is subtracted, which lowers variance;
    pre-training is by likelihood instead of a pairwise model; D's vectors begin at random. IRGAN and not CFGAN (Chae et
    al., CIKM 2018), because its generator draws items from a policy, as a recommender does, and because its memory
    follows the events and draws: at most `nn.autoencoders.MAX_LOGITS` logits exist at once.

    The loss of a pass is the generator's: a negative log-likelihood for each person before the game, and the REINFORCE
    objective, which is near 0, in it; the two cannot be compared. Whether the game helps is for the validation to say.
    """

    Config = IRGANConfig

    @property
    @override
    def no_warm_start(self) -> str | None:
        return "the discriminator is not stored with it"

    @override
    def prepare(self, data: TrainingData, context: FitContext) -> int:
        matrix = data.histories.matrix(self.n_items)
        self._people = BagStore(matrix[np.diff(matrix.indptr) > 0])
        return len(self._people)

    @override
    def new_network(self) -> _Scorer:
        return _Scorer(self.config, self.n_items)

    @override
    def initialise(self, generator: torch.Generator) -> None:
        self.network.initialise(generator)
        self._judge = self._allocated()
        self._judge.initialise(generator)
        self._judge_optimiser = self._adam(self._judge)

    @override
    def new_optimiser(self) -> torch.optim.Optimizer:
        return self._adam(self.network)

    def _adam(self, player: _Scorer) -> torch.optim.Optimizer:
        config = self.config
        return torch.optim.AdamW(
            player.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )

    @override
    def pass_begins(self, generator: torch.Generator) -> None:
        self._plays = self._epoch >= self.config.pretraining
        for group in self.optimiser.param_groups:
            group["lr"] = self.config.game_learning_rate if self._plays else self.config.learning_rate

    @override
    def loss(self, rows: NDArray[np.int64], generator: torch.Generator) -> Tensor:
        shown, chosen = split(self._people.batch(rows, self.device), generator)
        people = self.network.people(shown)
        self._teach_judge(shown, chosen, people.detach(), generator)
        if self._plays:
            targets = self._rewarded(shown, chosen, people.detach(), generator)
        else:
            targets = Targets(offsets=chosen.offsets, items=chosen.items, weights=torch.ones_like(chosen.items).float())
        return multinomial_loss(people, self.network.items.weight, self.network.bias, targets)

    def _teach_judge(self, shown: Bags, chosen: Bags, people: Tensor, generator: torch.Generator) -> None:
        """One step of the discriminator against the generator, for whom `people` (B, D) are vectors."""
        network = self.network
        drawn, _ = draw(people, network.items.weight, network.bias, self.config.negatives, generator)
        real, drawn_logits = self._judged(shown, chosen.rows, chosen.items), self._judged_draws(shown, drawn)
        loss = nn.functional.softplus(-real).sum() / max(1, len(real)) + nn.functional.softplus(drawn_logits).mean()
        self._judge_optimiser.zero_grad()
        loss.backward()
        self._judge_optimiser.step()

    @torch.no_grad()
    def _rewarded(self, shown: Bags, chosen: Bags, people: Tensor, generator: torch.Generator) -> Targets:
        """What the generator drew, each with the weight that the discriminator's opinion gives it."""
        network, config = self.network, self.config
        drawn, weights = draw(
            people,
            network.items.weight,
            network.bias,
            config.negatives,
            generator,
            chosen=chosen,
            mixture=config.mixture,
        )
        rewards = 2 * self._judged_draws(shown, drawn).sigmoid() - 1
        offsets = torch.arange(len(drawn) + 1, device=self.device) * config.negatives
        return Targets(offsets=offsets, items=drawn.flatten(), weights=advantages(rewards, weights).flatten())

    def _judged_draws(self, shown: Bags, drawn: Tensor) -> Tensor:
        rows = torch.arange(len(drawn), device=self.device).repeat_interleave(drawn.shape[1])
        return self._judged(shown, rows, drawn.flatten()).view(drawn.shape)

    def _judged(self, shown: Bags, rows: Tensor, items: Tensor) -> Tensor:
        """Logits of the discriminator, (N,), for the `items` (N,) and the people `rows` (N,)."""
        people = nn.functional.embedding(rows, self._judge.people(shown))
        return self._judge.pairs(people, items)

    @override
    def training_state(self) -> dict[str, Any]:
        moments = self._judge_optimiser.state_dict()["state"]
        return super().training_state() | {
            "judge": dict(self._judge.state_dict()),
            "judge_moments": {str(index): moments[index] for index in sorted(moments)},
        }

    @override
    def load_training_state(self, state: Mapping[str, Any]) -> None:
        super().load_training_state(state)
        self._judge.load_state_dict(state["judge"])
        moments = {int(index): moment for index, moment in state["judge_moments"].items()}
        groups = self._judge_optimiser.state_dict()["param_groups"]
        self._judge_optimiser.load_state_dict({"state": moments, "param_groups": groups})

    @override
    @torch.no_grad()
    def user_vectors(self, contexts: Contexts) -> Tensor:
        bags = BagStore(contexts.matrix(self.n_items)).all(self.device)
        return with_one(self.network.people(bags))

    @override
    def item_vectors(self) -> Tensor:
        return torch.cat([self.network.items.weight, self.network.bias[:, None]], dim=1).detach()

    @override
    def similar(self, items: list[int]) -> Tensor:
        return cosines(self.network.items.weight, items)
