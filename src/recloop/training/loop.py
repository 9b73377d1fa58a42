"""Training that can be watched, stopped early, killed and resumed."""

import hashlib
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from recloop.data.sequences import Examples
from recloop.errors import ModelError
from recloop.metrics import Metric
from recloop.models.base import FitContext, IterativeModel, Model, TrainingData, check_needs, silent
from recloop.models.neural import NeuralModel
from recloop.nn.private import Mechanism
from recloop.training import checkpoint
from recloop.training.config import EarlyStopping, PrivacyConfig, TrainConfig
from recloop.training.curves import Curves, Point
from recloop.training.privacy import mechanism, record
from recloop.training.validation import sample, validate
from recloop.training.warm_start import Start


def train(
    model: Model,
    data: TrainingData,
    config: TrainConfig,
    context: FitContext,
    checkpoint_folder: Path | None = None,
    *,
    start: Start | None = None,
    passes: int | None = None,
    watch: Callable[[int, float], None] | None = None,
) -> Curves:
    """Train `model` and leave it with its best weights.

    A model that is not trained in passes is fitted and validated once. Any other is validated as `EarlyStopping` says;
    after each pass a checkpoint is written, and a later call with the same model, parameters, seed and data goes on
    from there, to the same result on the same CPU. A checkpoint of anything else is ignored and replaced.

    With `TrainConfig.privacy` all passes are made and the last weights are kept, as a choice by what people did next is
    no part of the account; `valid` is not looked at. The draws are secret, so no two trainings are alike. A checkpoint
    holds the steps made so far; those of a pass that was cut off left nothing behind and are made anew.

    Args:
        model: untrained.
        data: without `valid`, all passes are made and the last weights are kept.
        config: `early_stopping` is used.
        context: device, seed and progress.
        checkpoint_folder: where to keep the checkpoint; `None` keeps none.
        start: what the model begins with; `None` begins with fresh values.
        passes: make exactly so many and keep the last weights; `data` must have no `valid` then.
        watch: is told each validated pass and its value, and may end the training by raising an error.

    Raises:
        ModelError: the data lack something that the model needs, it cannot begin with `start`, a loss is not finite,
            the checkpoint is damaged, or privacy is asked for and cannot be kept.
    """
    check_needs(type(model), data)
    how = config.early_stopping
    if config.privacy is not None:
        _check_privacy(model, start)
        data = replace(data, valid=None)
    valid = sample(data.valid, how.max_examples) if data.valid is not None and len(data.valid) else None
    if isinstance(model, IterativeModel):
        assert passes is None or valid is None, "a number of passes and validation cannot both end the training"
        return _Run(model, data, valid, how, context, checkpoint_folder, start, passes, watch, config.privacy).go()
    assert start is None, f"{model.name()} has no beginning"
    model.fit(data, context)
    value = None if valid is None else validate(model, valid, how)
    name = how.metric_of(type(model)).name
    return Curves(metric=name, points=(Point(epoch=0, loss=None, value=value),), best_epoch=0)


@dataclass
class _Run:
    """One training run in passes, and where it stands."""

    model: IterativeModel
    data: TrainingData
    valid: Examples | None
    how: EarlyStopping
    context: FitContext
    folder: Path | None
    start: Start | None = None
    passes: int | None = None
    watch: Callable[[int, float], None] | None = None
    privacy: PrivacyConfig | None = None
    mechanism: Mechanism | None = None
    private_steps: int = 0
    points: list[Point] = field(default_factory=list)
    best: dict[str, Tensor] | None = None
    best_epoch: int = 0
    best_value: float | None = None

    def go(self) -> Curves:
        quiet = replace(self.context, progress=silent)
        fingerprint = _fingerprint(
            self.model, self.data, self.how, self.context, start=self.start, privacy=self.privacy
        )
        self.model.begin(self.data, quiet)
        if self.privacy is not None:
            self.mechanism = mechanism(self.privacy, self._private_model, self._last)
        if self.start is not None:
            self.model.warm_start(self.start.tensors, self.start.rows)
        if self.folder is not None and (stored := checkpoint.read(self.folder, fingerprint)) is not None:
            self._resume(stored)
        quiet = replace(quiet, privacy=self.mechanism)
        remaining = range(len(self.points) + 1, self._last + 1)
        for epoch in self.context.progress(remaining, f"train {self.model.name()}"):
            if self._has_converged():
                break
            loss = self.model.advance(quiet)
            if not math.isfinite(loss):
                raise ModelError(self._about(loss, epoch))
            self.private_steps += self.mechanism.steps if self.mechanism is not None else 0
            self._record(epoch, loss)
            if self.folder is not None:
                checkpoint.write(self.folder, fingerprint, self._state())
        if self.best is not None:
            self.model.load_tensors(self.best)
        best_epoch = self.best_epoch if self.best is not None else len(self.points)
        return Curves(metric=self._metric.name, points=tuple(self.points), best_epoch=best_epoch, privacy=self._cost())

    @property
    def _last(self) -> int:
        return self.passes or self.model.epochs

    @property
    def _private_model(self) -> NeuralModel:
        assert isinstance(self.model, NeuralModel), f"{self.model.name()} is not trained by gradient steps"
        return self.model

    def _cost(self) -> dict[str, Any] | None:
        if self.privacy is None or self.mechanism is None:
            return None
        return record(self.privacy, self._private_model.n_people, self.mechanism, self.private_steps)

    def _record(self, epoch: int, loss: float) -> None:
        due = epoch % self.how.validate_every == 0 or epoch == self.model.epochs
        value = validate(self.model, self.valid, self.how) if self.valid is not None and due else None
        self.points.append(Point(epoch=epoch, loss=loss, value=value))
        if value is not None and self._is_better(value):
            self.best = {name: tensor.detach().cpu().clone() for name, tensor in self.model.tensors().items()}
            self.best_epoch, self.best_value = epoch, value
        if value is not None and self.watch is not None:
            self.watch(epoch, value)

    @property
    def _metric(self) -> Metric:
        return self.how.metric_of(type(self.model))

    def _is_better(self, value: float) -> bool:
        if self.best_value is None:
            return not math.isnan(value)
        return value < self.best_value if self._metric.lower_is_better else value > self.best_value

    def _has_converged(self) -> bool:
        since = self.points[self.best_epoch :]
        validated = sum(point.value is not None for point in since)
        enough = self.model.steps is None or len(since) * self.model.steps >= self.how.patience_steps
        return self.how.patience is not None and validated >= self.how.patience and enough

    def _state(self) -> dict[str, Any]:
        return {
            "points": [list(astuple(point)) for point in self.points],
            "best": self.best,
            "best_epoch": self.best_epoch,
            "model": self.model.training_state(),
            "noise_multiplier": self.mechanism and self.mechanism.noise_multiplier,
            "private_steps": self.private_steps,
        }

    def _resume(self, stored: dict[str, Any]) -> None:
        self.points = [Point(epoch=epoch, loss=loss, value=value) for epoch, loss, value in stored["points"]]
        self.best, self.best_epoch = stored["best"], stored["best_epoch"]
        if self.best is not None:
            self.best_value = self.points[self.best_epoch - 1].value
        self.model.load_training_state(stored["model"])
        if self.mechanism is not None:
            self.mechanism = replace(self.mechanism, noise_multiplier=stored["noise_multiplier"])
            self.private_steps = stored["private_steps"]

    def _about(self, loss: float, epoch: int) -> str:
        kept = ""
        if self.folder is not None and self.points:
            kept = f"; the checkpoint of epoch {epoch - 1} is kept in {self.folder / checkpoint.FILE}"
        return (
            f"Training {self.model.name()} gave a loss of {loss} in epoch {epoch} of {self.model.epochs}; lower its "
            f"learning rate or raise its regularization{kept}."
        )


def _check_privacy(model: Model, start: Start | None) -> None:
    if model.no_privacy is not None:
        raise ModelError(
            f"{model.name()} cannot be trained privately: {model.no_privacy}; train another model, or this one without "
            "train.privacy."
        )
    if start is not None and not start.private:
        raise ModelError(
            f"{model.name()} is to begin with {start.id}, which was trained without privacy; set train.warm_start or "
            "train.privacy to null."
        )


def _fingerprint(
    model: Model,
    data: TrainingData,
    how: EarlyStopping,
    context: FitContext,
    *,
    start: Start | None,
    privacy: PrivacyConfig | None,
) -> str:
    """Differs wherever a checkpoint would not fit: in the model, its parameters and beginning, the seed, the data."""
    plain = {
        "model": model.name(),
        "config": model.config.model_dump(mode="json"),
        "early_stopping": how.model_dump(mode="json"),
        "seed": context.seed,
        "n_items": data.n_items,
        "start": start and start.id,
        "privacy": privacy and privacy.model_dump(mode="json"),
    }
    digest = hashlib.sha256(json.dumps(plain, sort_keys=True).encode())
    for array in _arrays(data):
        digest.update(np.ascontiguousarray(array).data)
    if data.items is not None:
        digest.update(data.items.write_json().encode())
    return digest.hexdigest()


def _arrays(data: TrainingData) -> Iterator[np.ndarray[Any, Any]]:
    yield from data.histories.arrays().values()
    if data.valid is not None:
        yield from data.valid.histories.arrays().values()
        yield from (data.valid.users, data.valid.stops, data.valid.offsets, data.valid.targets)
    if data.knowledge is not None:
        yield from (data.knowledge.heads, data.knowledge.relations, data.knowledge.tails)
