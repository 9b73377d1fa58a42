"""Recommender models, one family a file; the module's name is the model's name.

A new model is a new file in this folder with one subclass of `Model`; nothing else has to be edited.
"""

import importlib
import inspect
import pkgutil
from functools import cache

from recloop.errors import ModelError
from recloop.models.base import IterativeModel, Model, catalogue

_NO_MODELS = frozenset(
    {"autoencoder", "base", "graph_cf", "neural", "neural_cf", "pairwise", "recurrent", "reranker", "storage"}
)


@cache
def names() -> tuple[str, ...]:
    """The names of all models, sorted; imports none of them."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name not in _NO_MODELS))


@cache
def find(name: str) -> type[Model]:
    """The model class of the module `name`.

    Raises:
        ModelError: there is no such model; the message lists the valid names.
    """
    if name not in names():
        raise ModelError(f"There is no model '{name}'; choose from: {', '.join(names())}.")
    module = importlib.import_module(f"{__name__}.{name}")
    classes = [
        member
        for _, member in inspect.getmembers(module, inspect.isclass)
        if issubclass(member, Model) and member.__module__ == module.__name__ and not inspect.isabstract(member)
    ]
    assert len(classes) == 1, f"models/{name}.py must define exactly one model, found {len(classes)}"
    return classes[0]


__all__ = ["IterativeModel", "Model", "catalogue", "find", "names"]
