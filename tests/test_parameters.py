import re
from pathlib import Path

import pytest

from recloop.config import load_params
from recloop.errors import ConfigError
from recloop.parameters import override

TEXT = """\
# what to run
train:
  models: [popularity, ease] # the field
  seed: 0
  als:
split: temporal
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "params.yaml").write_text(TEXT)
    return tmp_path


def test_what_is_set_is_written_and_the_rest_stays_with_its_comments(root: Path):
    changes = override(root, {"train.models": ["als"], "train.seed": 3}, print)
    assert changes == {"train.models": ["als"], "train.seed": 3}
    text = re.sub(" +#", " #", (root / "params.yaml").read_text())
    assert text == TEXT.replace("[popularity, ease]", "[als]").replace("seed: 0", "seed: 3")


def test_sections_that_are_absent_or_empty_are_made(root: Path):
    override(root, {"train.als.factors": 8, "gate.floor": 0.5}, print)
    text = (root / "params.yaml").read_text()
    assert "als:\n    factors: 8" in text
    assert text.endswith("gate:\n  floor: 0.5\n")


def test_none_is_written_as_null(root: Path):
    assert override(root, {"train.seed": None}, print) == {"train.seed": None}
    assert load_params(root / "params.yaml")["train"]["seed"] is None
    assert override(root, {"train.seed": None}, print) == {}


def test_equal_values_leave_the_file_untouched(root: Path):
    before = (root / "params.yaml").stat()
    assert override(root, {"train.models": ["popularity", "ease"], "train.seed": 0}, print) == {}
    assert (root / "params.yaml").stat().st_mtime_ns == before.st_mtime_ns


def test_nothing_set_needs_no_file(tmp_path: Path):
    assert override(tmp_path, {}, print) == {}


def test_each_change_is_told(root: Path):
    said: list[str] = []
    override(root, {"train.seed": 3, "train.device": "cpu"}, said.append)
    assert said == ["params.yaml: train.seed: 0 -> 3", "params.yaml: train.device: (default) -> cpu"]


def test_a_path_through_a_value_is_refused(root: Path):
    with pytest.raises(ConfigError) as caught:
        override(root, {"split.strategy": "temporal"}, print)
    sentence = "params.yaml: split must be a mapping, not 'temporal'; write its keys below it."
    assert str(caught.value) == sentence
    assert (root / "params.yaml").read_text() == TEXT


def test_a_key_that_stands_twice_is_refused(root: Path):
    (root / "params.yaml").write_text(TEXT + "split: {}\n")
    with pytest.raises(ConfigError) as caught:
        override(root, {"train.seed": 1}, print)
    assert str(caught.value).startswith('params.yaml cannot be changed without loss (found duplicate key "split"')
    assert (root / "params.yaml").read_text() == TEXT + "split: {}\n"


def test_a_missing_file_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"params\.yaml does not exist; run the command in the project's root"):
        override(tmp_path, {"train.seed": 1}, print)
