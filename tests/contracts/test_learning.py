"""Every model learns: in a made-up world, with its default parameters, it comes nearer to the truth than popularity.

What a slate is worth is known there: the chance of each item to be chosen next, discounted by place as in NDCG. The
oracle, who knows all tastes, gets 1, and nobody more.
"""

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from numpy.typing import NDArray

from recloop import models
from recloop.columns import TIME, USER
from recloop.data.sequences import Contexts
from recloop.data.splits import examples
from recloop.data.tables import Attributes
from recloop.data.vocabulary import Vocabulary
from recloop.models.base import FitContext, Model, TrainingData, silent
from recloop.sources import SourceContext
from recloop.sources.synthetic import Config, World
from recloop.training.config import TrainConfig
from recloop.training.loop import train

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
CPU = torch.device("cpu")
K = 10
MARGIN = 0.05
BASELINES = {"random", "popularity", "recency"}
CONTENT_ALONE = {"content_tfidf", "content_embedding"}
"""They look at attributes alone, and here these say nothing but an item's category."""
LAST_ITEM_ALONE = {"cooccurrence"}
RATINGS = {name for name in models.names() if "values" in models.find(name).needs}
RANKERS = sorted(set(models.names()) - BASELINES - CONTENT_ALONE - LAST_ITEM_ALONE - RATINGS)


@dataclass(frozen=True)
class Truth:
    """A world and what was seen of it: the first nine tenths to learn from, the rest to validate by."""

    world: World
    learnt: pl.DataFrame
    later: pl.DataFrame
    attributes: Attributes

    @property
    def people(self) -> Vocabulary:
        return Vocabulary(pl.concat([self.learnt, self.later])[USER])


@cache
def truth() -> Truth:
    world = World(Config(users=600, items=240, sessions=10, session_length=4, cold_items=0, seed=5))
    nowhere = Path()
    tables = world.tables(SourceContext(root=nowhere, data=nowhere, cache=nowhere, progress=silent))
    events = tables.interactions.sort(TIME)
    cut = events.height * 9 // 10
    attributes = Attributes(items=tables.items, users=tables.users, knowledge=tables.knowledge)
    return Truth(world, events[:cut], events[cut:], attributes)


def training(name: str) -> tuple[Vocabulary, TrainingData]:
    known = truth()
    items = models.catalogue(models.find(name), known.learnt, known.attributes.items)
    asked = examples(known.learnt, known.later, items, mode="successive", people=known.attributes.users)[0]
    return items, replace(TrainingData.from_tables(known.learnt, items, known.attributes), valid=asked)


def fitted(name: str) -> tuple[Vocabulary, Model]:
    items, data = training(name)
    model = models.find(name)(models.find(name).Config(), len(items), CPU)
    train(model, data, TrainConfig(), FitContext(device=CPU))
    return items, model


def contexts(items: Vocabulary) -> Contexts:
    """All that everybody has taken, at the end of time."""
    known = truth()
    return Contexts.from_frame(pl.concat([known.learnt, known.later]), known.people, items, known.attributes.users)


def chances(items: Vocabulary, asked: Contexts) -> NDArray[np.float64]:
    """How likely each person is to choose each item that is new to them, (B, I)."""
    world = truth().world
    people = [world.user_ids.index(user) for user in truth().people.ids]
    liking = world.affinity(people, world.end)[:, [world.item_ids.index(item) for item in items.ids]]
    found = np.exp(liking - liking.max(axis=1, keepdims=True))
    found[asked.rows, asked.items] = 0
    return found / found.sum(axis=1, keepdims=True)


def worth(scores: NDArray[np.floating], items: Vocabulary, asked: Contexts) -> float:
    """The mean share of the oracle's expected discounted gain that the first K items get."""
    likely = chances(items, asked)
    scores = scores.astype(np.float64)
    scores[asked.rows, asked.items] = -np.inf
    discounts = 1 / np.log2(np.arange(K) + 2)
    shown = np.argsort(-scores, axis=1, kind="stable")[:, :K]
    best = -np.sort(-likely, axis=1)[:, :K]
    return float(((np.take_along_axis(likely, shown, axis=1) @ discounts) / (best @ discounts)).mean())


@cache
def share(name: str) -> float:
    items, model = fitted(name)
    asked = contexts(items)
    return worth(model.score(asked).numpy(), items, asked)


def test_the_oracle_gets_all_and_popularity_about_half() -> None:
    items, _ = training("ease")
    asked = contexts(items)
    assert worth(chances(items, asked), items, asked) == pytest.approx(1)
    assert 0.4 < share("popularity") < 0.6
    assert share("random") < 0.3


@pytest.mark.parametrize("name", RANKERS)
def test_a_model_beats_popularity_and_the_oracle_bounds_it(name: str) -> None:
    assert share("popularity") + MARGIN < share(name) < 1


@pytest.mark.parametrize("name", sorted(LAST_ITEM_ALONE))
def test_the_last_item_alone_says_something(name: str) -> None:
    assert share("popularity") < share(name)


def test_content_alone_is_better_than_chance() -> None:
    assert share("random") + MARGIN < share("content_tfidf")


@pytest.mark.parametrize("name", sorted(RATINGS))
def test_a_model_of_ratings_finds_who_matches_what(name: str) -> None:
    """True ratings grow with how well a person matches an item; the oracle has a correlation of 1 with it."""
    items, model = fitted(name)
    world = truth().world
    people = [world.user_ids.index(user) for user in truth().people.ids]
    places = world.places_ID[[world.item_ids.index(item) for item in items.ids]]
    match = world.tastes(people, world.end) @ places.T
    predicted = model.score(contexts(items)).numpy()
    assert 0.2 < np.corrcoef(predicted.ravel(), match.ravel())[0, 1] < 1
