"""Contenders of the gate that no stage has evaluated: the champion, and a baseline that is fitted on the spot."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import polars as pl
import torch

from recloop import models
from recloop.config import parse
from recloop.data.tables import Attributes
from recloop.data.vocabulary import Vocabulary
from recloop.evaluation.gate import Contender, GateConfig
from recloop.evaluation.questions import Questions
from recloop.evaluation.ranking import EvaluateConfig, evaluate
from recloop.models.base import FitContext, Model, TrainingData, silent

Progress = Callable[[Iterable[Any], str], Iterable[Any]]


def rival(
    model: Model,
    catalogue: Vocabulary,
    questions: Questions,
    config: GateConfig,
    *,
    bundle: str | None = None,
    progress: Progress = silent,
) -> Contender:
    """Evaluate a model by the gate's metric alone, on the questions that the candidates answered.

    Args:
        model: ready to score.
        catalogue: what its item indices mean, which may be those of an earlier data version.
        questions: the questions of today.
        config: names the metric.
        bundle: the id of the champion's bundle.
        progress: wraps an iterable of steps and shows it under a description.
    """
    settings = EvaluateConfig(metrics=(config.metric,), max_slates=0, bootstrap_samples=100)
    evaluation = evaluate(model, catalogue, questions, settings, progress=progress)
    return Contender(
        model=evaluation.model,
        users=evaluation.users,
        metrics=evaluation.metrics,
        slices=evaluation.slices,
        bundle=bundle,
    )


def fit(
    name: str,
    values: Mapping[str, Any] | None,
    train: pl.DataFrame,
    attributes: Attributes | None = None,
    *,
    device: torch.device,
    seed: int = 0,
    progress: Progress = silent,
) -> tuple[Model, Vocabulary]:
    """A model of the name, and its catalogue, without early stopping.

    Args:
        name: the model's name.
        values: its parameters.
        train: interactions to learn from.
        attributes: what else is known; nothing by default.
        device: where to fit.
        seed: seeds every draw.
        progress: wraps an iterable of steps and shows it under a description.

    Raises:
        ModelError: there is no such model, or the data lack what it needs.
        ConfigError: a value is not a parameter of it.
    """
    kind = models.find(name)
    known = attributes or Attributes()
    catalogue = models.catalogue(kind, train, known.items)
    model = kind(parse(kind.Config, values, f"params.yaml: train.{name}"), len(catalogue), device)
    data = TrainingData.from_tables(train, catalogue, known)
    model.fit(data, FitContext(device=device, seed=seed, progress=progress))
    return model, catalogue
