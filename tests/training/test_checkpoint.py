from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recloop.errors import ModelError
from recloop.training import checkpoint

PLAIN = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=5)
NESTED = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)


@given(value=NESTED)
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_plain_values_come_back(value: Any, tmp_path: Path) -> None:
    checkpoint.write(tmp_path, "a", {"value": value})
    assert checkpoint.read(tmp_path, "a") == {"value": value}


def test_tensors_come_back_with_type_and_shape(tmp_path: Path) -> None:
    value = {
        "weights": torch.arange(6.0).view(2, 3).T,
        "steps": [torch.tensor(3), torch.ones(2, dtype=torch.float64), torch.zeros(0, 4)],
        "same": (torch.arange(6.0), 7),
    }
    checkpoint.write(tmp_path / "new" / "folder", "a", value)
    again = checkpoint.read(tmp_path / "new" / "folder", "a")
    assert torch.equal(again["weights"], value["weights"])
    for one, other in zip(again["steps"], value["steps"], strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)
    assert torch.equal(again["same"][0], torch.arange(6.0))
    assert again["same"][1] == 7


def test_a_checkpoint_of_something_else_is_none(tmp_path: Path) -> None:
    assert checkpoint.read(tmp_path / "nowhere", "a") is None
    checkpoint.write(tmp_path, "a", {})
    assert checkpoint.read(tmp_path, "b") is None
    checkpoint.write(tmp_path, "b", {"x": 1})
    assert checkpoint.read(tmp_path, "b") == {"x": 1}
    assert [path.name for path in tmp_path.iterdir()] == [checkpoint.FILE]


def test_removal_is_repeatable(tmp_path: Path) -> None:
    checkpoint.write(tmp_path, "a", {})
    (tmp_path / ".checkpoint.safetensors.part").write_bytes(b"half")
    checkpoint.remove(tmp_path)
    checkpoint.remove(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("keep", [0, 5, -1])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, keep: int) -> None:
    checkpoint.write(tmp_path, "a", {"x": torch.ones(9)})
    path = tmp_path / checkpoint.FILE
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ModelError) as error:
        checkpoint.read(tmp_path, "a")
    assert str(error.value).startswith(f"{path} is damaged (")
    assert str(error.value).endswith("; delete it, and training starts from the beginning.")


def test_what_a_checkpoint_cannot_hold_is_our_mistake(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="/x/0 is <class 'set'>"):
        checkpoint.write(tmp_path, "a", {"x": [set()]})
    assert not list(tmp_path.iterdir())
