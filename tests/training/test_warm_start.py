from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from recloop.data.splits import SplitConfig, split
from recloop.data.tables import Attributes
from recloop.data.vocabulary import UNKNOWN, Vocabulary
from recloop.errors import BundleError, ModelError
from recloop.models.als import ALS, ALSConfig
from recloop.models.base import FitContext, TrainingData
from recloop.models.ease import EASE, EASEConfig
from recloop.models.storage import Trained
from recloop.serving.bundle import write_bundle
from recloop.training.config import TrainConfig
from recloop.training.loop import train
from recloop.training.warm_start import Start, objection
from tests.support.bundles import world
from tests.training.scripted import Scripted

CONTEXT = FitContext(device=torch.device("cpu"))
OWN = ALSConfig(factors=4, iterations=2)
EVENTS = world()
PARTS = split(EVENTS, SplitConfig())
Bundle = Callable[..., Path]


def fitted(events: pl.DataFrame, config: ALSConfig = OWN) -> tuple[ALS, Vocabulary]:
    items = Vocabulary(events["item_id"])
    model = ALS(config, len(items))
    model.fit(TrainingData.from_tables(events, items, Attributes()), CONTEXT)
    return model, items


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """Make a bundle of an als model that was trained on the training part; `record` replaces what its manifest says."""

    def make(events: pl.DataFrame = EVENTS, privacy: dict[str, Any] | None = None, **record: Any) -> Path:
        model, items = fitted(PARTS.train)
        said = {"data": {"train_window": PARTS.summary["train_window"]}, "params": {}} | record
        folder = tmp_path / "champion"
        trained = Trained(model=model, vocabulary=items, privacy=privacy)
        write_bundle(folder, trained=trained, interactions=events, record=said)
        return folder

    return make


def why(
    folder: Path, config: ALSConfig = OWN, summary: dict[str, Any] | None = None, events: Any = EVENTS
) -> str | None:
    return objection(folder, ALS(config, 0), PARTS.summary if summary is None else summary, events)


def test_the_champion_of_the_same_data_and_parameters_is_a_beginning(bundle: Bundle) -> None:
    assert why(bundle()) is None
    assert why(bundle(params={"split": {"test_fraction": 0.2}})) is None


def test_a_beginning_is_what_was_learned_by_id(bundle: Bundle) -> None:
    folder = bundle()
    model, known = fitted(PARTS.train)
    items = Vocabulary(["a new one", *known.ids.to_list()[3:], "item-1x"])
    start = Start.read(folder, ALS(OWN, len(items)), items)
    assert start.id == pl.read_json(folder / "manifest.json")["id"].item()
    assert start.tensors.keys() == model.tensors().keys()
    assert all(torch.equal(tensor, start.tensors[key]) for key, tensor in model.tensors().items())
    ids = known.ids.to_list()
    assert start.rows.tolist() == [ids.index(item) if item in ids else UNKNOWN for item in items.ids]
    assert (start.rows == UNKNOWN).sum() == 2


def test_other_parameters_are_no_beginning(bundle: Bundle) -> None:
    other = ALSConfig(factors=4, iterations=3)
    assert why(bundle(), other) == "its parameters are others"
    with pytest.raises(ModelError) as caught:
        Start.read(bundle(), ALS(other, 3), Vocabulary(["a", "b", "c"]))
    assert str(caught.value) == (
        f"{bundle()} does not hold als with the parameters of now; run 'dvc repro --single-item --force pretrained' to "
        "choose again what models begin with."
    )


def test_a_model_without_passes_has_no_beginning(bundle: Bundle) -> None:
    assert objection(bundle(), EASE(EASEConfig(), 0), PARTS.summary, EVENTS) == "it is not trained in passes"


def test_what_was_learned_must_not_be_asked(bundle: Bundle) -> None:
    """With larger test and validation parts, some of what the champion has learned would be asked."""
    larger = split(EVENTS, SplitConfig(test_fraction=0.3))
    assert why(bundle(), summary=larger.summary) == "it has learned events that validation or test may ask"
    smaller = split(EVENTS, SplitConfig(test_fraction=0.05))
    assert why(bundle(), summary=smaller.summary) is None


@pytest.mark.parametrize("champion", [True, False])
def test_only_a_temporal_split_keeps_them_apart(bundle: Bundle, champion: bool) -> None:  # noqa: FBT001 - a case
    said = "only a temporal split keeps what it has learned apart from what is asked"
    if champion:
        assert why(bundle(params={"split": {"strategy": "leave_last_out"}})) == said
    else:
        assert why(bundle(), summary=split(EVENTS, SplitConfig(strategy="leave_last_out")).summary) == said


@pytest.mark.parametrize(
    "record", [{"data": {}}, {"data": None}, {"params": None}, {"data": {"train_window": ["a", "b"]}}]
)
def test_a_champion_of_unknown_origin_is_no_beginning(bundle: Bundle, record: dict[str, Any]) -> None:
    assert why(bundle(**record)) == "its manifest does not say what it has learned from"


def test_events_that_are_gone_must_not_come_back(bundle: Bundle) -> None:
    """As when a person was forgotten."""
    someone = EVENTS["user_id"][0]
    gone = "it knows events that the data no longer hold"
    assert why(bundle(), events=EVENTS.filter(pl.col("user_id") != someone)) == gone
    assert why(bundle(), events=EVENTS.with_columns(pl.col("timestamp").dt.offset_by("1us"))) == gone
    assert why(bundle(EVENTS.filter(pl.col("user_id") != someone))) is None


def test_a_damaged_or_missing_bundle_is_named(bundle: Bundle) -> None:
    folder = bundle()
    (folder / "weights.safetensors").write_bytes(b"")
    for call in (lambda: why(folder), lambda: Start.read(folder, ALS(OWN, 1), Vocabulary(["a"]))):
        with pytest.raises(BundleError, match=r"'weights.safetensors' has 0 bytes"):
            call()
    with pytest.raises(BundleError) as caught:
        Start.read(Path("gone"), ALS(OWN, 1), Vocabulary(["a"]))
    assert str(caught.value) == (
        "gone, which als is to begin with, does not exist; run 'dvc repro --single-item --force pretrained' to choose "
        "again what models begin with."
    )


def test_a_bundle_without_histories_is_not_complete(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = bundle()
    (folder / "users.parquet").unlink()
    manifest = pl.read_json(folder / "manifest.json").to_dicts()[0]
    monkeypatch.setattr("recloop.training.warm_start.verify", lambda _: manifest)
    with pytest.raises(BundleError, match=r"Bundle .* is not complete \(.*users.parquet does not exist"):
        why(folder)


def test_training_goes_on_from_the_beginning_and_after_a_kill_from_there(bundle: Bundle, tmp_path: Path) -> None:
    items = Vocabulary(PARTS.train["item_id"])
    data = TrainingData.from_tables(PARTS.train, items, Attributes())
    start = Start.read(bundle(), ALS(OWN, len(items)), items)

    def trained(start: Start | None, folder: Path | None = None, *, killed: bool = False) -> dict[str, Any]:
        model = ALS(OWN, len(items))
        advance, passes = model.advance, []

        def once(context: FitContext) -> float:
            passes.append(None)
            if killed and len(passes) > 1:
                raise KeyboardInterrupt
            return advance(context)

        model.advance = once
        curves = train(model, data, TrainConfig(), CONTEXT, folder, start=start)
        return {"losses": [point.loss for point in curves.points], "items": model.item_vectors(), "passes": len(passes)}

    warm, fresh = trained(start), trained(None)
    assert warm["losses"][0] < fresh["losses"][1] < fresh["losses"][0]
    with pytest.raises(KeyboardInterrupt):
        trained(start, tmp_path / "kept", killed=True)
    assert trained(None, tmp_path / "kept")["passes"] == 2
    with pytest.raises(KeyboardInterrupt):
        trained(start, tmp_path / "kept", killed=True)
    assert trained(replace(start, id="another"), tmp_path / "kept")["passes"] == 2
    with pytest.raises(KeyboardInterrupt):
        trained(start, tmp_path / "kept", killed=True)
    resumed = trained(start, tmp_path / "kept")
    assert resumed["passes"] == 1
    assert resumed["losses"] == warm["losses"]
    assert torch.equal(resumed["items"], warm["items"])


def test_a_model_that_does_not_say_what_belongs_to_items_cannot_begin_with_another() -> None:
    with pytest.raises(ModelError) as caught:
        Scripted([0]).warm_start({}, np.arange(5))
    assert str(caught.value) == (
        "scripted cannot begin with what another model learned: it does not say which of its weights belong to items; "
        "train it from the beginning."
    )


def test_of_a_champion_that_was_trained_once_more_the_evaluated_weights_are_the_beginning(tmp_path: Path) -> None:
    (judged, items), (served, everything) = fitted(PARTS.train), fitted(EVENTS)
    windows = {"train_window": PARTS.summary["test_window"], "evaluated_window": PARTS.summary["train_window"]}
    write_bundle(
        tmp_path / "champion",
        trained=Trained(model=served, vocabulary=everything),
        evaluated=Trained(model=judged, vocabulary=items),
        interactions=EVENTS,
        record={"data": windows, "params": {}},
    )
    assert why(tmp_path / "champion") is None
    start = Start.read(tmp_path / "champion", ALS(OWN, len(items)), items)
    assert all(torch.equal(tensor, start.tensors[name]) for name, tensor in judged.tensors().items())
    assert not all(torch.equal(tensor, start.tensors[name]) for name, tensor in served.tensors().items())


def test_a_champion_trained_without_privacy_is_no_beginning_for_one_with(bundle: Bundle) -> None:
    def asked(folder: Path) -> str | None:
        return objection(folder, ALS(OWN, 0), PARTS.summary, EVENTS, private=True)

    folder = bundle()
    items = Vocabulary(EVENTS["item_id"])
    assert asked(folder) == "it was trained without privacy"
    assert not Start.read(folder, ALS(OWN, len(items)), items).private
    folder = bundle(privacy={"epsilon": 2.0})
    assert asked(folder) is None
    assert Start.read(folder, ALS(OWN, len(items)), items).private
