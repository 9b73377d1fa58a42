from pathlib import Path
from typing import Any

import pytest
from pydantic import Field, ValidationError

from recloop.config import Config, Seed, load_params, parse, section
from recloop.errors import ConfigError


class Knobs(Config):
    neighbors: int = Field(default=5, ge=1)
    name: str = "x"


class Needy(Config):
    path: str


class Nested(Config):
    knobs: Knobs = Knobs()
    maybe: Knobs | None = None
    share: float = 0.5
    seed: Seed = 0


def test_defaults_and_values() -> None:
    assert parse(Knobs, None, "here") == Knobs(neighbors=5, name="x")
    assert parse(Knobs, {"neighbors": 7}, "here").neighbors == 7


def test_configuration_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Knobs().neighbors = 3  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    ("kind", "values", "sentence"),
    [
        (Knobs, {"neighbours": 1}, "p.neighbours is not a known parameter; known ones are: name, neighbors."),
        (
            Knobs,
            {"neighbors": 0},
            "p.neighbors is 0, but input should be greater than or equal to 1; correct the value.",
        ),
        (
            Knobs,
            {"neighbors": "many"},
            (
                "p.neighbors is 'many', but input should be a valid integer, unable to parse string as an integer;"
                " correct the value."
            ),
        ),
        (Needy, {}, "p.path is required; add it."),
        (Nested, {"knob": 1}, "p.knob is not a known parameter; known ones are: knobs, maybe, seed, share."),
        (Nested, {"knobs": {"nam": 1}}, "p.knobs.nam is not a known parameter; known ones are: name, neighbors."),
        (Nested, {"maybe": {"nam": 1}}, "p.maybe.nam is not a known parameter; known ones are: name, neighbors."),
        (Nested, {"share": float("inf")}, "p.share is inf, but input should be a finite number; correct the value."),
        (Nested, {"seed": -1}, "p.seed is -1, but input should be greater than or equal to 0; correct the value."),
        (
            Nested,
            {"seed": 1 << 63},
            ("p.seed is 9223372036854775808, but input should be less than 9223372036854775808; correct the value."),
        ),
    ],
)
def test_mistakes_are_named_with_their_path(kind: type[Config], values: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(kind, values, "p")
    assert str(caught.value) == sentence


def test_params_file(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("train: {seed: 3}\nsplit:\n")
    params = load_params(path)
    assert section(params, "train") == {"seed": 3}
    assert section(params, "split") == {}
    assert section(params, "absent") == {}


@pytest.mark.parametrize("values", [5, ["neighbors"], "neighbors", 0])
def test_values_that_are_no_mapping_are_refused(values: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(Knobs, values, "p.knobs")
    assert str(caught.value) == f"p.knobs must be a mapping, not {values!r}; write its keys below it."
    with pytest.raises(ConfigError, match=r"^params.yaml: train must be a mapping, not "):
        section({"train": values}, "train")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, " does not exist; run the command in the project's root or name the file."),
        (b"train: \xff", r" cannot be read as text \(.*\); correct the file."),
        (b"train: [1", r" is not valid YAML \(.*\); correct that line."),
        (b"- train", " must be a mapping of sections such as 'ingest:' and 'train:'."),
    ],
)
def test_a_params_file_that_cannot_be_used_is_named(tmp_path: Path, content: bytes | None, sentence: str) -> None:
    path = tmp_path / "params.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=f"^{path}{sentence}$"):
        load_params(path)


def test_a_folder_is_no_params_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r" cannot be read as text \(.*\); correct the file\.$"):
        load_params(tmp_path)
