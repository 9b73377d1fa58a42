import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from opacus.accountants.analysis.rdp import compute_rdp, get_privacy_spent

from recloop.data.sequences import Contexts
from recloop.errors import ModelError
from recloop.models.base import FitContext, TrainingData
from recloop.models.multdae import MultDAE, MultDAEConfig
from recloop.models.popularity import Popularity, PopularityConfig
from recloop.nn import private
from recloop.training import checkpoint
from recloop.training.config import EarlyStopping, PrivacyConfig, TrainConfig
from recloop.training.curves import Curves
from recloop.training.loop import train
from recloop.training.privacy import epsilon, mechanism
from recloop.training.warm_start import Start
from tests.training.scripted import Scripted, questions
from tests.training.scripted import data as scripted_data

CONTEXT = FitContext(device=torch.device("cpu"), seed=4)
PEOPLE = 25
PASSES = 3


def data() -> TrainingData:
    random = np.random.default_rng(0)
    histories = [random.permutation(9)[: random.integers(1, 6)].tolist() for _ in range(PEOPLE)]
    asked = questions(histories[:5], [0, 1, 2, 3, 4])
    return TrainingData(histories=Contexts.from_lists([*histories, []]), n_items=9, valid=asked)


def model(**parameters: Any) -> MultDAE:
    own = {"dim": 4, "batch_size": 10, "epochs": PASSES, "learning_rate": 0.01} | parameters
    return MultDAE(MultDAEConfig.model_validate(own), 9)


def config(**privacy: Any) -> TrainConfig:
    early = EarlyStopping(metric="mrr", patience=1, patience_steps=0)
    return TrainConfig(early_stopping=early, privacy=PrivacyConfig.model_validate({"epsilon": 1.0} | privacy))


def trained(how: TrainConfig, folder: Path | None = None, **parameters: Any) -> tuple[MultDAE, Curves]:
    made = model(**parameters)
    return made, train(made, data(), how, CONTEXT, folder)


def cost(curves: Curves) -> dict[str, Any]:
    assert curves.privacy is not None
    return curves.privacy


@pytest.mark.parametrize("accountant", ["rdp", "prv"])
def test_the_account_is_what_was_asked_for_and_hardly_less(accountant: str) -> None:
    found = cost(trained(config(accountant=accountant, delta=0.01, max_grad_norm=0.5))[1])
    assert 1.0 - 0.02 <= found.pop("epsilon") <= 1.0
    assert found.pop("noise_multiplier") > 0.3
    assert found == {
        "unit": "user",
        "delta": 0.01,
        "max_grad_norm": 0.5,
        "sample_rate": 0.4,
        "steps": 3 * PASSES,
        "people": PEOPLE,
        "accountant": accountant,
    }


def test_delta_falls_a_little_faster_than_people_grow() -> None:
    assert cost(trained(config())[1])["delta"] == pytest.approx(1 / PEOPLE**1.1)


def test_the_cost_follows_from_noise_rate_and_steps() -> None:
    """Opacus' own arithmetic below its accountant; and without sampling, by hand, the Gaussian mechanism's formula."""
    orders = [1 + x / 10 for x in range(1, 100)] + list(range(12, 64))
    curve = compute_rdp(q=0.4, noise_multiplier=1.7, steps=9, orders=orders)
    wanted, _ = get_privacy_spent(orders=orders, rdp=curve, delta=0.01)
    assert epsilon("rdp", 1.7, 0.4, 9, 0.01) == pytest.approx(wanted)
    assert epsilon("rdp", 1.7, 0.4, 18, 0.01) > wanted
    assert epsilon("rdp", 1.7, 0.4, 0, 0.01) == 0

    def by_hand(order: float) -> float:
        divergence = 9 * order / (2 * 4.0**2)
        return divergence + math.log((order - 1) / order) - (math.log(0.01) + math.log(order)) / (order - 1)

    assert epsilon("rdp", 4.0, 1.0, 9, 0.01) == pytest.approx(min(map(by_hand, orders)), rel=1e-6)


def test_less_privacy_needs_less_noise() -> None:
    noises = []
    for budget in (0.5, 2.0):
        made = model()
        made.begin(data(), CONTEXT)
        noises.append(mechanism(PrivacyConfig(epsilon=budget), made, PASSES).noise_multiplier)
    assert noises[0] > 2 * noises[1]


def test_all_passes_are_made_and_nothing_is_chosen_by_what_people_did() -> None:
    made, curves = trained(config())
    assert [point.epoch for point in curves.points] == [1, 2, 3]
    assert all(point.value is None for point in curves.points)
    assert curves.best_epoch == PASSES
    assert made.passed > PASSES - 1


def test_two_trainings_with_the_same_seed_differ() -> None:
    (first, one), (second, other) = trained(config()), trained(config())
    assert one.privacy == other.privacy
    assert not torch.equal(first.tensors()["decoder.items"], second.tensors()["decoder.items"])


@pytest.mark.parametrize("died_in", [1, 2, 3])
def test_an_interrupted_training_accounts_for_all_its_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, died_in: int
) -> None:
    """Killed in a pass, after some of its steps; the pass is made anew, with new draws, and each step counts once."""
    steps: list[int] = []
    noised = private.Mechanism.noised

    def counted(how: private.Mechanism, *arguments: Any) -> Any:
        steps.append(1)
        if len(steps) == 3 * (died_in - 1) + 2:
            raise KeyboardInterrupt
        return noised(how, *arguments)

    monkeypatch.setattr(private.Mechanism, "noised", counted)
    with pytest.raises(KeyboardInterrupt):
        trained(config(), tmp_path)
    made = len(steps)
    _, curves = trained(config(), tmp_path)
    assert len(steps) - made == 3 * (PASSES - died_in + 1), "it did not go on from the checkpoint"
    assert cost(curves) == cost(trained(config())[1])
    assert cost(curves)["steps"] == 3 * PASSES


def test_what_was_done_is_accounted_for_with_the_noise_it_was_done_with(tmp_path: Path) -> None:
    """The noise of the steps in a checkpoint counts, even if today more would be chosen."""
    _, curves = trained(config(), tmp_path)
    path = tmp_path / checkpoint.FILE
    read = checkpoint.read

    def louder(folder: Path, fingerprint: str) -> Any:
        stored = read(folder, fingerprint)
        assert stored is not None
        return stored | {"noise_multiplier": stored["noise_multiplier"] * 2}

    assert path.is_file()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "read", louder)
        _, again = trained(config(), tmp_path)
    assert cost(again)["noise_multiplier"] == 2 * cost(curves)["noise_multiplier"]
    assert cost(again)["epsilon"] < cost(curves)["epsilon"]


def test_a_checkpoint_of_another_budget_is_nothing_to_go_on_from(tmp_path: Path) -> None:
    trained(config(), tmp_path)
    _, curves = trained(config(epsilon=0.5), tmp_path)
    assert cost(curves)["epsilon"] <= 0.5
    assert cost(curves)["steps"] == 3 * PASSES


def test_without_privacy_there_is_no_cost() -> None:
    made = model()
    assert train(made, data(), TrainConfig(), CONTEXT).privacy is None


def test_models_that_cannot_are_refused_by_name() -> None:
    with pytest.raises(ModelError) as error:
        train(Popularity(PopularityConfig(), 9), data(), config(), CONTEXT)
    assert str(error.value) == (
        "popularity cannot be trained privately: it is not trained by gradient steps; train another model, or this one "
        "without train.privacy."
    )
    with pytest.raises(ModelError, match="scripted cannot be trained privately"):
        train(Scripted([0]), scripted_data(questions([[]], [0])), config(), CONTEXT)


def test_a_beginning_without_privacy_is_refused() -> None:
    tensors, rows = trained(config())[0].tensors(), np.arange(9)
    start = Start(id="cafe", tensors=tensors, rows=rows)
    with pytest.raises(ModelError) as error:
        train(model(), data(), config(), CONTEXT, start=start)
    assert str(error.value) == (
        "multdae is to begin with cafe, which was trained without privacy; set train.warm_start or train.privacy to "
        "null."
    )
    assert train(model(), data(), config(), CONTEXT, start=replace(start, private=True)).privacy


def test_too_few_people_and_too_small_a_budget_are_refused() -> None:
    lonely = TrainingData(histories=Contexts.from_lists([[1, 2], []]), n_items=9)
    with pytest.raises(ModelError) as error:
        train(model(), lonely, config(), CONTEXT)
    assert str(error.value) == (
        "multdae has 1 people to learn from, but nobody can be hidden among fewer than 2; give more data or set "
        "train.privacy to null."
    )
    with pytest.raises(ModelError) as error:
        trained(config(epsilon=1e-9, delta=1e-9))
    assert str(error.value) == (
        "No noise gives multdae an epsilon of 1e-09 in 3 passes; raise train.privacy.epsilon or lower "
        "train.multdae.epochs."
    )


def test_a_missing_accountant_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "opacus"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opacus", None)
    with pytest.raises(ModelError) as error:
        trained(config(epsilon=0.7))
    assert str(error.value) == (
        "train.privacy needs the package opacus, which is not installed; run: pip install 'recloop[privacy]'."
    )
