"""Click prediction: the samples, what is computed from them, and which pass is kept."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from typing_extensions import override

from benchmarks.published import protocols
from benchmarks.published.lastfm_kg import Samples, auc, best_threshold, f1, learn, main, read, run, shares
from recloop.data.sequences import Contexts
from recloop.errors import ConfigError, ModelError
from recloop.models.base import FitContext, IterativeModel, ModelConfig, TrainingData
from tests.support.lastfm import ARTISTS, PEOPLE, write_lastfm

SCORED = st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2).filter(
    lambda rows: len({liked for _, liked in rows}) == 2
)
NOBODY = TrainingData(histories=Contexts.from_lists([[0], [1]]), n_items=3)
# The first person liked item 1 and not item 2, the second liked item 2 and not item 0.
ASKED = Samples(users=np.array([0, 0, 1, 1]), items=np.array([1, 2, 2, 0]), liked=np.array([True, False, True, False]))


@given(SCORED)
def test_auc_is_the_share_of_pairs_in_the_right_order(rows: list[tuple[int, bool]]) -> None:
    found, liked = np.array([score for score, _ in rows], dtype=np.float32), np.array([liked for _, liked in rows])
    pairs = [(one > other) + 0.5 * (one == other) for one, is_liked in rows if is_liked for other, no in rows if not no]
    assert auc(found, liked) == pytest.approx(np.mean(pairs))


def test_f1_counts_what_reaches_the_threshold() -> None:
    found, liked = np.array([0.1, 0.4, 0.4, 0.8], dtype=np.float32), np.array([False, True, False, True])
    assert f1(found, liked, 0.4) == pytest.approx(2 * 2 / (3 + 2))
    assert f1(found, liked, 0.5) == pytest.approx(2 * 1 / (1 + 2))
    assert f1(found, liked, 0.9) == 0


@given(SCORED)
def test_no_threshold_has_a_better_f1(rows: list[tuple[int, bool]]) -> None:
    found, liked = (
        np.array([score for score, _ in rows[:50]], dtype=np.float32),
        np.array([like for _, like in rows[:50]]),
    )
    reached = f1(found, liked, best_threshold(found, liked))
    assert reached == pytest.approx(max(f1(found, liked, level) for level in found.tolist()))


@pytest.mark.parametrize("seed", [0, 1])
def test_the_samples_are_the_pairs_and_as_many_others_where_there_are_in_three_parts(tmp_path: Path, seed: int) -> None:
    pairs = write_lastfm(tmp_path / "data")
    data, parts = read(tmp_path / "data", seed)
    everyone = np.concatenate([part.users for part in parts])
    everything = np.concatenate([part.items for part in parts])
    liked = np.concatenate([part.liked for part in parts])
    # ids are sorted as text
    names = [sorted(map(str, range(count))) for count in (PEOPLE, ARTISTS)]
    drawn = [(int(names[0][user]), int(names[1][item])) for user, item in zip(everyone, everything, strict=True)]
    assert len(set(drawn)) == len(drawn)
    assert {pair for pair, positive in zip(drawn, liked, strict=True) if positive} == pairs
    for user in range(PEOPLE):
        likes = int(liked[everyone == user].sum())
        assert (everyone == user).sum() - likes == min(likes, ARTISTS - likes)
    assert [len(part.users) for part in parts] == pytest.approx(
        [len(drawn) * share for share in (0.6, 0.2, 0.2)], abs=1
    )
    first = parts[0]
    for user in range(PEOPLE):
        history = data.histories.take(np.array([user])).items.tolist()
        assert history == sorted(first.items[first.liked & (first.users == user)].tolist())
    assert data.knowledge is not None
    assert data.knowledge.n_entities == ARTISTS + 2


def test_another_seed_draws_other_samples(tmp_path: Path) -> None:
    write_lastfm(tmp_path / "data")
    first, second = (read(tmp_path / "data", seed)[1][2] for seed in (0, 1))
    assert first.items.tolist() != second.items.tolist()


class Scripted(IterativeModel[ModelConfig]):
    """Scores as a list says, pass by pass: how far liked artists lie above the others."""

    def __init__(self, margins: list[float]) -> None:
        super().__init__(ModelConfig(), 3)
        self.margins, self.made = margins, 0
        self.margin = torch.zeros(())

    @property
    @override
    def epochs(self) -> int:
        return len(self.margins)

    @override
    def begin(self, data: TrainingData, context: FitContext) -> None:
        self.made = 0

    @override
    def advance(self, context: FitContext) -> float:
        self.margin = torch.tensor(self.margins[self.made])
        self.made += 1
        return 0.0

    @override
    def score(self, contexts: Contexts) -> Tensor:
        # The second person's scores lie far above the first one's, which shares do not show.
        first, second = torch.tensor([0.0, 1.0, 0.0]), torch.tensor([0.0, 0.0, 1.0])
        return torch.stack([self.margin * first, 100 + self.margin * second])[contexts.items]

    @override
    def tensors(self) -> dict[str, Tensor]:
        return {"margin": self.margin}

    @override
    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        self.margin = tensors["margin"]

    @override
    def training_state(self) -> dict[str, Any]:
        return {}

    @override
    def load_training_state(self, state: Mapping[str, Any]) -> None:
        pass


def test_shares_have_one_scale_for_all_people() -> None:
    model = Scripted([1.0])
    model.margin = torch.tensor(1.0)
    like, other = np.log(np.exp([1, 0]) / (np.exp(1) + 2))
    assert shares(model, NOBODY.histories, ASKED) == pytest.approx([like, other, like, other], rel=1e-5)


@pytest.mark.parametrize(("patience", "made"), [(1, 3), (2, 4), (5, 6)])
def test_the_best_pass_is_kept_and_training_ends_after_patience(patience: int, made: int) -> None:
    model = Scripted([-1.0, 2.0, -1.0, 2.0, -1.0, -1.0])
    best, passes = learn(model, NOBODY, ASKED, FitContext(device=torch.device("cpu")), patience)
    assert passes == made
    assert (best.passes, best.auc, best.f1) == (2, 1.0, 1.0)
    assert best.tensors == {"margin": torch.tensor(2.0)}


def test_a_run_reports_both_parts_and_the_last_only_when_asked(tmp_path: Path) -> None:
    write_lastfm(tmp_path / "data")
    report = run(tmp_path / "data", "ease", device="cpu")
    assert report["passes"] == 0
    assert report["valid"]["auc"] > 0.7
    assert report["metrics"]["auc"] > 0.7
    chosen = run(tmp_path / "data", "ease", device="cpu", test=False)
    assert "metrics" not in chosen
    assert chosen["valid"] == report["valid"]


def test_mistakes_of_the_caller_are_sentences(tmp_path: Path) -> None:
    write_lastfm(tmp_path / "data")
    with pytest.raises(ModelError, match="nothing"):
        run(tmp_path / "data", "nothing")
    with pytest.raises(ConfigError, match=r"lastfm-kg\.seed is -1, but .*; correct the value\."):
        run(tmp_path / "data", "ease", seed=-1)
    with pytest.raises(ConfigError, match=r"lastfm-kg\.device is 'gpu', but .*; correct the value\."):
        run(tmp_path / "data", "ease", device="gpu")
    with pytest.raises(ConfigError, match=re.escape("--set.wheels is not a known parameter")):
        run(tmp_path / "data", "ease", ["wheels=4"])
    with pytest.raises(ModelError, match="mf needs ratings"):
        run(tmp_path / "data", "mf")


def test_the_program_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocols, "DATA", tmp_path)
    monkeypatch.setattr("sys.argv", ["lastfm_kg", "--model", "ease"])
    with pytest.raises(
        SystemExit, match=r"interactions\.parquet does not exist; name the folder of the benchmark data"
    ):
        main()
    write_lastfm(tmp_path / "lastfm-kg")
    monkeypatch.setattr("sys.argv", ["lastfm_kg", "--model", "ease", "--seed", "-1"])
    with pytest.raises(SystemExit, match=r"^error: lastfm-kg\.seed is -1"):
        main()


def test_the_program_prints_what_it_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(protocols, "DATA", tmp_path)
    write_lastfm(tmp_path / "lastfm-kg")
    monkeypatch.setattr("sys.argv", ["lastfm_kg", "--model", "ease", "--set", "regularization=10", "--validation-only"])
    main()
    assert re.fullmatch(r"valid auc 0\.\d+ f1 0\.\d+ pass 1\n", capsys.readouterr().out)
