"""The `train` section of the parameters."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, field_validator

from recloop import metrics, models
from recloop.config import Config, Seed, parse, section
from recloop.devices import DeviceName
from recloop.errors import ConfigError
from recloop.models.base import Model, ModelConfig

_WHERE = "params.yaml: train"
DEFAULT = ("popularity", "item_knn", "ease", "als", "sasrec")
"""A field that needs nothing but interactions and trains within minutes."""


class EarlyStopping(Config):
    """When to stop models that are trained in passes; the weights of the best validated pass are kept.

    Attributes:
        metric: what to compare passes by, on the validation part; computed from ranks, so higher is better.
        rating_metric: the same for models that need ratings, because they predict ratings; lower is better.
        validate_every: passes from one validation to the next; the last pass is always validated.
        patience: validations in a row without a new best after which training stops; null never stops early.
        patience_steps: gradient steps that must also have been made since the best validation, so that a few large
            batches of small data do not end the training; 0 counts validations alone.
        max_examples: questions asked in a validation, evenly spaced over all; null asks all.
        mask_seen: whether validation leaves out what a person has seen, as `evaluate.mask_seen` does for the test.
    """

    metric: str = Field(default="ndcg@10", description="What passes are compared by.")
    rating_metric: Literal["rmse", "mae"] = Field(
        default="rmse", description="What passes of models of ratings are compared by."
    )
    validate_every: int = Field(default=1, ge=1, description="Passes from one validation to the next.")
    patience: int | None = Field(default=3, ge=1, description="Validations without a new best before stopping.")
    patience_steps: int = Field(default=90, ge=0, description="Gradient steps without a new best, at least.")
    max_examples: int | None = Field(default=2000, ge=1, description="Questions asked in a validation.")
    mask_seen: bool = Field(default=True, description="Leave out what a person has seen.")

    def metric_of(self, kind: type[Model]) -> metrics.Metric:
        """What passes of this model are compared by."""
        return metrics.parse(self.rating_metric if "values" in kind.needs else self.metric)

    @field_validator("metric")
    @classmethod
    def _comes_from_ranks(cls, metric: str) -> str:
        try:
            found = metrics.parse(metric)
        except ConfigError as error:
            raise ValueError(str(error).rstrip(".")) from None
        if found.takes is not metrics.Ranking or not found.per_example:
            raise ValueError("must be taken from ranks, such as ndcg@10 or recall@20")
        return found.name


class TrainConfig(Config):
    """Which models to train, and how; each model's own parameters stand below its name in the same section.

    Attributes:
        models: names of models, without repeats.
        seed: seeds every draw.
        device: where to compute.
        warm_start: ``champion``: a model that can begins with what the champion has learned, if that is of its kind and
            its parameters and has seen nothing that validation or test may ask (`training.warm_start`); null trains all
            from the beginning.
        refit: whether the winner of the gate is trained once more, with as many passes, on all events before it is
            packaged. The gate then still judges, and a warm start begins with, the weights that have not seen the test.
        early_stopping: see `EarlyStopping`.
    """

    models: tuple[str, ...] = Field(default=DEFAULT, min_length=1, description="Models to train.")
    seed: Seed = Field(default=0, description="Seeds every draw.")
    device: DeviceName = Field(default="auto", description="Where to compute.")
    warm_start: Literal["champion"] | None = Field(default=None, description="What models begin with.")
    refit: bool = Field(default=False, description="Train the winner once more, on all events.")
    early_stopping: EarlyStopping = EarlyStopping()

    @field_validator("models")
    @classmethod
    def _known_and_distinct(cls, listed: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := sorted(set(listed) - set(models.names())):
            raise ValueError(f"'{unknown[0]}' is no model; choose from: {', '.join(models.names())}")
        if len(set(listed)) < len(listed):
            raise ValueError("must name each model once")
        return listed


def train_config(params: Mapping[str, Any]) -> TrainConfig:
    """The `train` section without the models' own parameters.

    Raises:
        ConfigError: a key is neither a parameter nor the name of a model, or a value is out of bounds.
    """
    values = section(params, "train")
    return parse(TrainConfig, {key: value for key, value in values.items() if key not in models.names()}, _WHERE)


def model_config(params: Mapping[str, Any], name: str) -> ModelConfig:
    """The parameters of the model `name`: what stands below its name in the `train` section, else its defaults.

    Raises:
        ModelError: there is no such model.
        ConfigError: its section is no mapping, a key is unknown, or a value is out of bounds.
    """
    kind = models.find(name)
    return parse(kind.Config, section(params, "train").get(name), f"{_WHERE}.{name}")
