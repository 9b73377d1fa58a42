from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor

from recloop.data.features import Features
from recloop.data.knowledge import Knowledge
from recloop.data.sequences import Contexts
from recloop.data.tables import Attributes
from recloop.data.vocabulary import Vocabulary
from recloop.errors import ModelError
from recloop.models.base import (
    FitContext,
    Model,
    ModelConfig,
    TrainingData,
    answer_nobody,
    catalogue,
    check_needs,
    silent,
)


class Picky(Model):
    needs: ClassVar[frozenset[str]] = frozenset({"timestamps", "values"})

    def fit(self, data: TrainingData, context: FitContext) -> None: ...

    def score(self, contexts: Contexts) -> Tensor:
        return torch.nn.functional.one_hot(torch.from_numpy(contexts.items), self.n_items).float()

    def tensors(self) -> dict[str, Tensor]:
        return {}

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None: ...


def data(timestamps: list[int], values: list[float]) -> TrainingData:
    histories = replace(
        Contexts.from_lists([[0, 1], [1]]),
        timestamps=np.array(timestamps),
        values=np.array(values, dtype=np.float32),
    )
    return TrainingData(histories=histories, n_items=2)


def refusal(data: TrainingData) -> str | None:
    try:
        check_needs(Picky, data)
    except ModelError as error:
        return str(error)
    return None


def test_data_with_times_and_ratings_serve_every_model() -> None:
    assert refusal(data([5, 6, 5], [1, 2, 3])) is None


def test_times_that_order_nothing_are_refused() -> None:
    assert refusal(data([5, 5, 9], [1, 2, 3])) == (
        "test_base needs the order of events, but all timestamps of each user are equal; give real timestamps or leave "
        "the model out."
    )


def test_values_that_are_all_equal_are_refused() -> None:
    assert refusal(data([5, 6, 5], [4, 4, 4])) == (
        "test_base needs ratings, but all values are 4; give real values or leave the model out."
    )


def test_one_event_each_needs_no_order() -> None:
    histories = replace(Contexts.from_lists([[0], [1]]), values=np.array([1, 2], dtype=np.float32))
    assert refusal(TrainingData(histories=histories, n_items=2)) is None


def test_nobody_is_answered_with_popularity() -> None:
    scores = answer_nobody(torch.zeros(3, 2), Contexts.from_lists([[], [1], []]), torch.tensor([5.0, 7.0]))
    assert scores.tolist() == [[5, 7], [0, 0], [5, 7]]


def test_likeness_is_by_default_the_score_of_a_history_of_one() -> None:
    assert Picky(ModelConfig(), 3).similar([2, 0]).tolist() == [[0, 0, 1], [1, 0, 0]]


def test_stored_tensors_are_checked() -> None:
    model = Picky(ModelConfig(), 3)
    stored = {"weights": torch.ones(3, 2)}
    assert model._tensor(stored, "weights", (3, None)) is stored["weights"]
    with pytest.raises(ModelError) as error:
        model._tensor(stored, "bias", (3,))
    assert str(error.value) == "The tensors of test_base lack 'bias'; train the model again."
    for shape in ((3,), (2, 2), (None, 3)):
        with pytest.raises(ModelError) as error:
            model._tensor(stored, "weights", shape)
        assert str(error.value).startswith(f"Tensor 'weights' of test_base has shape (3, 2), not {shape}; train")


def test_silence_passes_steps_on() -> None:
    assert list(silent([1, 2], "x")) == [1, 2]


PLAIN = TrainingData(histories=Contexts.from_lists([[0, 1], [1]]), n_items=2)
TITLES = pl.DataFrame({"title": ["One", None], "year": [1990, 1991]})
GRAPH = {"relations": np.array([0]), "n_items": 2, "n_entities": 4, "n_relations": 1}


def lacks(need: str, data: TrainingData) -> str | None:
    """What is said of data that lack `need`, if they do."""
    kind = type("Needy", (Picky,), {"needs": frozenset({need}), "__module__": __name__})
    try:
        check_needs(kind, data)
    except ModelError as error:
        return str(error)
    return None


def with_features(people: pl.DataFrame) -> TrainingData:
    return replace(PLAIN, histories=replace(PLAIN.histories, features=Features.from_frame(people)))


@pytest.mark.parametrize(
    ("need", "sentence", "poor", "rich"),
    [
        (
            "item_features",
            "needs attributes of items; add it to the table 'items' or leave the model out.",
            [PLAIN, replace(PLAIN, items=pl.DataFrame({"year": [None, None]})), replace(PLAIN, items=pl.DataFrame())],
            replace(PLAIN, items=pl.DataFrame({"year": [1990, None]})),
        ),
        (
            "item_text",
            (
                "needs a column of text about items, such as a title or categories; add it to the table 'items' or "
                "leave the model out."
            ),
            [PLAIN, replace(PLAIN, items=TITLES[["year"]]), replace(PLAIN, items=pl.DataFrame({"title": ["", None]}))],
            replace(PLAIN, items=TITLES),
        ),
        (
            "item_vectors",
            (
                "needs a column of item vectors: lists of equally many numbers; add it to the table 'items' or leave "
                "the model out."
            ),
            [PLAIN, replace(PLAIN, items=TITLES), replace(PLAIN, items=pl.DataFrame({"v": [[1.0], [1.0, 2.0]]}))],
            replace(PLAIN, items=pl.DataFrame({"v": [[1.0, 2.0], None]})),
        ),
        (
            "user_features",
            "needs attributes of people; add it to the table 'users' or leave the model out.",
            [PLAIN, with_features(pl.DataFrame({"job": [None, None]}))],
            with_features(pl.DataFrame({"job": [None, "poet"]})),
        ),
        (
            "knowledge",
            "needs triples about items of the catalogue; add it to the table 'knowledge' or leave the model out.",
            [PLAIN, replace(PLAIN, knowledge=Knowledge(heads=np.array([2]), tails=np.array([3]), **GRAPH))],
            replace(PLAIN, knowledge=Knowledge(heads=np.array([2]), tails=np.array([1]), **GRAPH)),
        ),
    ],
)
def test_a_table_that_is_needed_is_asked_for_by_name(
    need: str, sentence: str, poor: list[TrainingData], rich: TrainingData
) -> None:
    for data in poor:
        assert lacks(need, data) == f"test_base {sentence}"
    assert lacks(need, rich) is None


def test_a_model_that_needs_nothing_takes_all_data() -> None:
    check_needs(type("Modest", (Picky,), {"needs": frozenset()}), PLAIN)


def test_the_whole_items_table_is_the_catalogue_of_models_that_score_new_items() -> None:
    interactions = pl.DataFrame({"user_id": ["u", "u"], "item_id": ["b", "a"]})
    items = pl.DataFrame({"item_id": ["c", "b"], "title": ["C", "B"]})
    brave = type("Brave", (Picky,), {"cold_items": True})
    assert catalogue(Picky, interactions, items).ids.to_list() == ["a", "b"]
    assert catalogue(brave, interactions, None).ids.to_list() == ["a", "b"]
    assert catalogue(brave, interactions, items).ids.to_list() == ["a", "b", "c"]


def test_training_data_hold_each_table_in_the_order_of_the_catalogue() -> None:
    interactions = pl.DataFrame(
        {"user_id": ["v", "u"], "item_id": ["b", "a"], "timestamp": [1, 2], "value": [3.0, 4.0]}
    )
    attributes = Attributes(
        items=pl.DataFrame({"item_id": ["b", "z"], "title": ["B", "Z"]}),
        users=pl.DataFrame({"user_id": ["v"], "job": ["poet"]}),
        knowledge=pl.DataFrame({"head": ["item:b"], "relation": ["genre"], "tail": ["war"]}),
    )
    found = TrainingData.from_tables(interactions, Vocabulary(["a", "b"]), attributes)
    assert found.n_items == 2
    assert found.histories.items.tolist() == [0, 1]
    assert found.items is not None
    assert found.items.rows() == [(None,), ("B",)]
    assert found.histories.features is not None
    assert found.histories.features.offsets.tolist() == [0, 0, 1]
    assert found.knowledge is not None
    assert (found.knowledge.heads.tolist(), found.knowledge.tails.tolist()) == ([1], [2])
    bare = TrainingData.from_tables(interactions, Vocabulary(["a", "b"]), Attributes())
    assert (bare.items, bare.knowledge, bare.histories.features, bare.valid) == (None, None, None, None)
