"""Whether the champion is found out when it foretells less than before, or was of no use from the start."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
import torch

from recloop.data.vocabulary import Vocabulary
from recloop.drift import history_embeddings, model_scores, popularity_baseline, ranking_quality, slates
from recloop.drift.comparison import Comparison, Numbers
from recloop.drift.config import DriftConfig
from recloop.drift.held_out import HeldOut
from recloop.drift.inputs import Inputs
from recloop.evaluation.contenders import fit
from recloop.models.base import Model

Make = Callable[..., Inputs]


def drifted(found: Comparison | None) -> bool:
    assert found is not None
    return found.value > found.threshold(0.001)


def trained(name: str, train: pl.DataFrame) -> tuple[Model, Vocabulary]:
    return fit(name, None, train, device=torch.device("cpu"))


def asked(inputs: Make, frame: pl.DataFrame, model: tuple[Model, Vocabulary], until: int) -> Inputs:
    """About a model that was trained on the events before day `until` of a world."""
    reference, current = parted(frame, until)
    held_out = HeldOut(interactions=frame, learned_until=reference["timestamp"].max())  # type: ignore[arg-type]
    return replace(inputs(reference, current, model), held_out=held_out)


def parted(frame: pl.DataFrame, until: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    begun = frame["timestamp"].min() + timedelta(days=until)  # type: ignore[operator]
    return frame.filter(pl.col("timestamp") < begun), frame.filter(pl.col("timestamp") >= begun)


def test_a_model_that_foretells_less_than_after_its_training(inputs: Make, world: Callable[..., pl.DataFrame]):
    """Tastes move in the middle of what came after the training, or not at all."""
    still, moved = world(seed=3), world(seed=3, drift_at=0.8)
    model = trained("als", parted(still, 72)[0])
    assert not drifted(ranking_quality.measure(asked(inputs, still, model, 72)))
    found = ranking_quality.measure(asked(inputs, moved, model, 72))
    assert found
    assert (found.column, found.statistic) == ("ndcg@10", "loss")
    assert isinstance(found.shown, Numbers)
    assert found.value == pytest.approx(1 - found.shown.current.mean() / found.shown.reference.mean())
    assert drifted(found)
    other = ranking_quality.measure(replace(asked(inputs, moved, model, 72), config=DriftConfig(metric="recall@20")))
    assert other
    assert other.column == "recall@20"


def test_a_model_whose_items_are_mixed_up_is_found(inputs: Make, world: Callable[..., pl.DataFrame]):
    """Each item has another's vector: the model answers in the same way at all times, but is of no use."""
    frame = world()
    model, items = trained("als", parted(frame, 72)[0])
    assert not drifted(popularity_baseline.measure(asked(inputs, frame, (model, items), 72)))
    tensors = dict(model.tensors())
    tensors["items"] = tensors["items"][torch.from_numpy(np.random.default_rng(0).permutation(len(items)))]
    model.load_tensors(tensors)
    broken = asked(inputs, frame, (model, items), 72)
    assert drifted(popularity_baseline.measure(broken))
    for compared_with_itself in (model_scores, slates, history_embeddings, ranking_quality):
        assert not drifted(compared_with_itself.measure(broken))


def test_popularity_is_as_good_as_itself(inputs: Make, world: Callable[..., pl.DataFrame]):
    frame = world(users=100)
    found = popularity_baseline.measure(asked(inputs, frame, trained("popularity", parted(frame, 72)[0]), 72))
    assert found
    assert found.value == 0
    assert found.n_reference == found.n_current
