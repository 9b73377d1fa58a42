from pathlib import Path

import pytest
from pydantic import Field, ValidationError

from recloop.config import Config, load_params, parse, section
from recloop.errors import ConfigError


class Knobs(Config):
    neighbors: int = Field(default=5, ge=1)
    name: str = "x"


class Needy(Config):
    path: str


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
