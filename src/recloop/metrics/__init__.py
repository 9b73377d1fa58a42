"""Metrics of recommendation, one small pure function a file; the module's name is the metric's name.

A new metric is a new file in this folder with one public function. What it takes says what it is computed from, what it
returns says for whom:

| first argument | computed from                  | returns                                                  |
| -------------- | ------------------------------ | -------------------------------------------------------- |
| `Ranking`      | ranks of the right answers     | an array, one value an example                            |
| `Slates`       | what was recommended           | an array, one value an example; or one number for all     |
| `Predictions`  | predicted and given ratings    | an array, one value a user                                |

A second argument `k` is the cut-off, written behind the name: ``ndcg@10``. In an array, NaN marks an example for which
the metric is undefined; it is left out of means.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from recloop.errors import ConfigError
from recloop.metrics.base import Floats, Predictions, Ranking, Slates

_CONTRACT = "base"


@dataclass(frozen=True)
class Metric:
    """A metric with its cut-off.

    Attributes:
        name: as it was asked for, such as ``ndcg@10``.
        function: the metric's function.
        k: the cut-off, `None` where it has none.
        takes: what it is computed from: `Ranking`, `Slates` or `Predictions`.
        per_example: whether it returns an array; otherwise one number.
    """

    name: str
    function: Callable[..., Any]
    k: int | None
    takes: type
    per_example: bool

    @property
    def lower_is_better(self) -> bool:
        """Whether it is an error of predicted ratings; of metrics taken from ranks, more is better."""
        return self.takes is Predictions

    def __call__(self, given: Ranking | Slates | Predictions) -> Any:
        """The metric of `given`, which must be of the type `takes`: an array, or one number."""
        assert isinstance(given, self.takes), f"{self.name} takes {self.takes.__name__}, not {type(given).__name__}"
        return self.function(given) if self.k is None else self.function(given, self.k)


@cache
def names() -> tuple[str, ...]:
    """The names of all metrics, sorted; imports none of them."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name != _CONTRACT))


@cache
def find(name: str) -> Callable[..., Any]:
    """The function of the metric `name`, which carries no cut-off here.

    Raises:
        ConfigError: there is no such metric; the message lists the valid names.
    """
    if name not in names():
        raise ConfigError(f"There is no metric '{name}'; choose from: {', '.join(names())}.")
    module = importlib.import_module(f"{__name__}.{name}")
    functions = [
        member
        for public, member in inspect.getmembers(module, inspect.isfunction)
        if member.__module__ == module.__name__ and not public.startswith("_")
    ]
    assert len(functions) == 1, f"metrics/{name}.py must define exactly one public function, found {len(functions)}"
    return functions[0]


@cache
def parse(text: str) -> Metric:
    """A metric and its cut-off from text such as ``ndcg@10``, ``mrr`` or ``auc``.

    Raises:
        ConfigError: the metric is unknown, or its cut-off is missing, superfluous, or no whole number above 0.
    """
    name, at, cutoff = text.strip().partition("@")
    function = find(name)
    signature = inspect.signature(function)
    first, *rest = signature.parameters.values()
    if at and not rest:
        raise ConfigError(f"Metric '{text}' has a cut-off, but {name} is taken over the whole ranking; write {name}.")
    if at and not (cutoff.isascii() and cutoff.isdigit() and int(cutoff) > 0):
        raise ConfigError(f"Metric '{text}' has a cut-off that is no whole number above 0; write {name}@10.")
    if not at and rest and rest[0].default is inspect.Parameter.empty:
        raise ConfigError(f"Metric '{text}' lacks the cut-off that {name} needs; write {name}@10.")
    return Metric(
        name=f"{name}@{int(cutoff)}" if at else name,
        function=function,
        k=int(cutoff) if at else None,
        takes=first.annotation,
        per_example=signature.return_annotation is not float,
    )


def depth(metrics: Iterable[Metric]) -> int:
    """The longest slate that `metrics` look at; 1 where none looks at slates."""
    return max((metric.k for metric in metrics if metric.takes is Slates and metric.k), default=1)


__all__ = ["Floats", "Metric", "Predictions", "Ranking", "Slates", "depth", "find", "names", "parse"]
