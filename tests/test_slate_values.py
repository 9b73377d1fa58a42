"""A log of slates whose truth is known: one of 6 items is drawn uniformly, and acted on with a known chance."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from recloop.data.tables import Attributes, canonical_interactions
from recloop.data.vocabulary import Vocabulary
from recloop.evaluation.contenders import fit
from recloop.evaluation.gate import GateConfig, SlateValues
from recloop.models.base import Model
from recloop.serving.recommender import ServeConfig
from recloop.slate_values import slate_values
from tests.support.logs import write_log

DAY = 86_400_000_000
CHANCES = np.array([0.1, 0.4, 0.3, 0.2, 0.5, 0.6])
"""Item 0 is the most popular of the training part, item 5 the least."""
TRAIN = canonical_interactions(
    pl.DataFrame(
        [{"user_id": f"t{n}", "item_id": f"i{item}", "timestamp": n} for item in range(6) for n in range(12 - 2 * item)]
    ),
    "test",
)
MODEL: tuple[Model, Vocabulary] = fit("popularity", None, TRAIN, device=torch.device("cpu"))
SLATES = 3_000


def log(folder: Path, **changes: Any) -> Path:
    random = np.random.default_rng(4)
    items = random.integers(0, 6, SLATES)
    given: dict[str, Any] = {
        "users": [f"u{number % 500}" for number in range(SLATES)],
        "items": [f"i{item}" for item in items],
        "moments": (DAY + np.sort(random.integers(0, 20 * DAY, SLATES))).tolist(),
        "clicked": (random.random(SLATES) < CHANCES[items]).tolist(),
        "propensity": 1 / 6,
        "bundle": "b",
    }
    write_log(folder / "data", **(given | changes))
    return folder / "data"


def values(data: Path, interactions: pl.DataFrame = TRAIN, since: int = 0, **serve: Any) -> SlateValues:
    return slate_values(
        data=data,
        champion="b",
        since=since,
        challengers=["popularity"],
        load=lambda _: MODEL,
        train=TRAIN,
        interactions=interactions,
        attributes=Attributes(),
        serve=ServeConfig(**serve),
        config=GateConfig(),
    )


@pytest.mark.parametrize(
    ("serve", "truth"),
    [
        ({}, CHANCES[0]),
        (
            {"policy": "epsilon_slots", "policy_options": {"epsilon": 0.3}},
            0.7 * CHANCES[0] + 0.3 * CHANCES.mean(),
        ),
        ({"policy": "mix", "policy_options": {"shares": {"model": 1, "popular": 1}}}, CHANCES[0]),
    ],
)
def test_estimates_hold_what_the_policy_would_have_earned(tmp_path: Path, serve: dict[str, Any], truth: float) -> None:
    found = values(log(tmp_path), **serve)
    assert (found.remark, found.refused) == (None, {})
    assert found.logged is not None
    assert found.logged.interval[0] < CHANCES.mean() < found.logged.interval[1]
    # The window of the slates of the last day is not over.
    assert 0.9 * SLATES < found.slates < SLATES
    snips, robust = found.estimates["popularity"]
    assert (snips.method, robust.method) == ("snips", "doubly_robust")
    for one in (snips, robust):
        assert one.interval[0] < truth < one.interval[1]
        assert one.interval[1] < CHANCES.mean(), "it is told from what was logged"
        assert 100 < one.effective < 500


def test_histories_up_to_the_request_count_and_later_ones_do_not(tmp_path: Path) -> None:
    def history(moment: int) -> pl.DataFrame:
        own = {"user_id": [f"u{n}" for n in range(500)], "item_id": "i0", "timestamp": moment / 1_000_000}
        return pl.concat([TRAIN, canonical_interactions(pl.DataFrame(own), "test")])

    data = log(tmp_path)
    before = values(data, history(DAY // 2)).estimates["popularity"][0]
    assert before.interval[0] < CHANCES[1] < before.interval[1], "everybody has seen the most popular item"
    after = values(data, history(40 * DAY)).estimates["popularity"][0]
    assert after.interval[0] < CHANCES[0] < after.interval[1]


def test_without_exploration_one_sentence_refuses(tmp_path: Path) -> None:
    found = values(log(tmp_path, propensity=1.0))
    assert found.remark is not None
    assert found.remark.startswith("Off-policy estimates are refused, as nothing was left to chance at the first place")
    assert found.estimates == {}


def test_what_the_log_cannot_tell_is_said(tmp_path: Path) -> None:
    assert values(tmp_path / "nothing") == SlateValues()
    data = log(tmp_path)
    assert "no slate of the champion in the test window" in str(values(data, since=30 * DAY).remark)
    assert "the policy 'thompson' learns from clicks" in str(values(data, policy="thompson").remark)
    refused = values(data, policy="mmr").refused["popularity"]
    assert refused.startswith("There is no off-policy estimate of popularity: ")
    assert "needs vectors" in refused
    estimated = values(log(tmp_path, policy="thompson")).remark
    assert estimated == "Off-policy estimates are refused, as the propensities of thompson are estimated, not exact."
    drafted = values(log(tmp_path, arm="interleaved"))
    assert "no slate of the champion in the test window" in str(drafted.remark)
    alone = values(log(tmp_path, users=["u"] * SLATES))
    assert alone.remark == "The champion's logged slates are all of one person, so there is no estimate from them."


def test_propensities_that_cannot_be_right_are_refused(tmp_path: Path) -> None:
    found = values(log(tmp_path, propensity=0.5))
    assert "trust_level" in found.refused["popularity"]
