"""What models that are trained by gradient steps on batches have in common.

Shapes: B examples of a batch, E training examples.
"""

from abc import abstractmethod
from collections.abc import Generator, Mapping, Sequence
from typing import Any, ClassVar, Generic

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from typing_extensions import TypeVar, override

from recloop import devices
from recloop.models.base import FitContext, IterativeModel, ModelConfig, TrainingData, check_needs
from recloop.nn.fields import FeatureVectors
from recloop.nn.private import Clipped, Mechanism, clipped_sum


class NeuralConfig(ModelConfig):
    """Parameters that all models trained by gradient steps share.

    Attributes:
        learning_rate: of Adam.
        weight_decay: share of each weight taken off in a step, times the learning rate.
        batch_size: training examples a step; what an example is, the model says. In private training the people that a
            step draws on average.
        epochs: most passes over the data; early stopping may end training before.
    """

    learning_rate: float = Field(default=0.001, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    batch_size: int = Field(default=256, ge=1)
    epochs: int = Field(default=50, ge=1)


C_co = TypeVar("C_co", bound=NeuralConfig, default=NeuralConfig, covariant=True)
N = TypeVar("N", bound=nn.Module, default=nn.Module)


class NeuralModel(IterativeModel[C_co], Generic[C_co, N]):
    """A network trained by Adam on batches of examples drawn in random order.

    A subclass says what the network is, how its weights begin, what an example is and what the loss of a batch. All
    that has been learned lies in the network's parameters and buffers. The randomness of an epoch follows from the seed
    and the epoch's number alone, so training resumes exactly; the global generator is left as it was, so dropout may be
    used freely. Where `devices.autocast` does, matrix products of the loss are computed in bfloat16.

    Class attributes:
        large_products: whether products of large matrices are so much of a pass that bfloat16 was measured to pay on
            a CPU.

    Attributes:
        network: on `device`; in evaluation mode except while a pass is made.
        passed: passes made before the present step, a part of one included.

    Private training (`FitContext.privacy`) is in full precision, by another step: see `nn.private`. A subclass that can
    be trained so says whose each example is.
    """

    large_products: ClassVar[bool] = False
    network: N
    passed: float

    @abstractmethod
    def new_network(self) -> N:
        """The network for this configuration and catalogue, on the meta device: no memory is taken."""

    @abstractmethod
    def initialise(self, generator: torch.Generator) -> None:
        """Give every parameter and buffer of `network`, which are not initialised, its first value."""

    @abstractmethod
    def prepare(self, data: TrainingData, context: FitContext) -> int:
        """Keep what training needs of `data`; returns the number of training examples, E.

        Called before the network is made, so it may learn sizes from the data.
        """

    @abstractmethod
    def loss(self, rows: NDArray[np.int64], generator: torch.Generator) -> Tensor:
        """Mean loss over the training examples `rows` (B,), with a gradient; all draws come from `generator`."""

    def owners(self) -> NDArray[np.int64]:
        """Whose each training example is, int64 (E,), those of one person together; known after `prepare`.

        Only for models that can be trained privately (`no_privacy`): the `loss` of one person's examples must depend on
        that person's data alone, and nothing that `prepare` computes of several people may shape it.
        """
        raise NotImplementedError(f"{self.name()}: {self.no_privacy}")

    @property
    def n_people(self) -> int:
        """How many people have training examples; known after `begin`, for models that can be trained privately."""
        return len(np.unique(self.owners()))

    def clipped_gradients(self, people: NDArray[np.int64], max_norm: float, generator: torch.Generator) -> Clipped:
        """The sum over `people` of the gradient of each one's own loss, clipped; and the sum of these losses.

        One person at a time unless a model knows a quicker way to the same.

        Args:
            people: int64 (B,), of the `n_people` ones.
            max_norm: the largest norm of a person's gradient.
            generator: all draws of the loss come from it.
        """
        parameters = list(self.network.parameters())
        bounds: list[int] = np.flatnonzero(np.diff(self.owners(), prepend=-1, append=-1)).tolist()
        total = torch.zeros((), device=self.device)

        def gradients() -> Generator[Sequence[Tensor]]:
            for person in people:
                loss = self.loss(np.arange(bounds[person], bounds[person + 1]), generator)
                total.add_(loss.detach())
                yield torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)

        return Clipped(sums=clipped_sum(gradients, parameters, max_norm), loss=total)

    def pass_begins(self, generator: torch.Generator) -> None:
        """Called before each pass, for what is drawn or computed once a pass."""

    def pass_ends(self) -> None:
        """Called after each pass, without gradients: what scoring reuses goes to buffers of the network."""

    def read_sizes(self, tensors: Mapping[str, Tensor]) -> None:
        """Learn from stored tensors those sizes of the network that configuration and catalogue do not tell."""

    @property
    @override
    def no_privacy(self) -> str | None:
        silent = type(self).owners is NeuralModel.owners
        return "it does not say whose each of its training examples is" if silent else None

    @property
    @override
    def epochs(self) -> int:
        return self.config.epochs

    @property
    @override
    def steps(self) -> int:
        return -(-self._n_examples // self.config.batch_size)

    @override
    def begin(self, data: TrainingData, context: FitContext) -> None:
        check_needs(type(self), data)
        self._n_examples = self.prepare(data, context)
        self.network = self._allocated()
        with torch.no_grad():
            self.initialise(torch.Generator(self.device).manual_seed(context.seed))
        self.optimiser = self.new_optimiser()
        self._epoch = 0
        self.passed = 0.0
        self.network.eval()

    def new_optimiser(self) -> torch.optim.Optimizer:
        """What makes the steps."""
        return torch.optim.AdamW(
            self.network.parameters(),
            lr=self.config.learning_rate,
            weight_decay=self.config.weight_decay,
            fused=True,
        )

    @override
    def advance(self, context: FitContext) -> float:
        seed = int(np.random.SeedSequence([context.seed, self._epoch]).generate_state(1)[0])
        generator = torch.Generator(self.device).manual_seed(seed)
        self.network.train()
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []), torch.enable_grad():
            torch.manual_seed(seed)
            self.pass_begins(generator)
            if context.privacy is None:
                loss = self._learn(np.random.default_rng(seed).permutation(self._n_examples), generator)
            else:
                loss = self._learn_privately(context.privacy, generator)
        self.network.eval()
        with torch.no_grad():
            self.pass_ends()
        self._epoch += 1
        return loss

    def _learn(self, order: NDArray[np.int64], generator: torch.Generator) -> float:
        """A pass over the examples in this order; their mean loss."""
        total = torch.zeros((), device=self.device)
        for start in range(0, len(order), self.config.batch_size):
            rows = order[start : start + self.config.batch_size]
            self.passed = self._epoch + start / len(order)
            with devices.autocast(self.device, large=self.large_products):
                loss = self.loss(rows, generator)
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
            total += loss.detach() * len(rows)
        return total.item() / max(1, len(order))

    def _learn_privately(self, how: Mechanism, generator: torch.Generator) -> float:
        """A pass of private steps, in full precision; the mean loss of the people drawn."""
        parameters, n_people = list(self.network.parameters()), self.n_people
        total, drawn = 0.0, 0
        for step in range(how.steps):
            self.passed = self._epoch + step / how.steps
            people = how.sample(n_people)
            clipped = self.clipped_gradients(people, how.max_grad_norm, generator)
            for parameter, gradient in zip(parameters, how.noised(clipped.sums, n_people), strict=True):
                parameter.grad = gradient
            self.optimiser.step()
            total, drawn = total + clipped.loss.item(), drawn + len(people)
        return total / max(1, drawn)

    @override
    @torch.no_grad()
    def _take_over(self, tensors: Mapping[str, Tensor], rows: NDArray[np.int64]) -> None:
        """Parameters are taken over, vectors of features by their bucket; buffers are those of the new data."""
        own = dict.fromkeys(self.per_item or (), rows)
        for name, module in self.network.named_modules():
            if isinstance(module, FeatureVectors):
                known = self._tensor(tensors, f"{name}.known", (None,))
                own[f"{name}.vectors.weight"] = module.rows_among(known)
        for name, parameter in self.network.named_parameters():
            parameter.copy_(self._carried(tensors, name, parameter, own.get(name)))
        self.pass_ends()

    @override
    def training_state(self) -> dict[str, Any]:
        moments = self.optimiser.state_dict()["state"]
        return {
            "epoch": self._epoch,
            "parameters": self.tensors(),
            "moments": {str(index): moments[index] for index in sorted(moments)},
        }

    @override
    def load_training_state(self, state: Mapping[str, Any]) -> None:
        self._epoch = state["epoch"]
        self._take(state["parameters"])
        moments = {int(index): moment for index, moment in state["moments"].items()}
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": moments, "param_groups": groups})

    @override
    def tensors(self) -> dict[str, Tensor]:
        return dict(self.network.state_dict())

    @override
    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        self.read_sizes(tensors)
        self.network = self._allocated()
        self._take(tensors)
        self.network.eval()

    def _allocated(self) -> N:
        with torch.device("meta"):
            network = self.new_network()
        return network.to_empty(device=self.device)

    def _take(self, tensors: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self.network.state_dict().items():
                parameter.copy_(self._tensor(tensors, name, tuple(parameter.shape)))
