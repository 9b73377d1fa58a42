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


Accountant = Literal["rdp", "prv"]


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


class PrivacyConfig(Config):
    """How much a trained model may tell of any one person (`training.privacy`).

    Attributes:
        epsilon: the budget of a training; less is more private.
        delta: the chance with which the bound may fail; null is ``1 / n^1.1`` for n people.
        max_grad_norm: what the gradient of a person is clipped to.
        accountant: keeps the account: ``rdp`` in Renyi divergences, ``prv`` by numerical convolution, which is tighter.
    """

    epsilon: float = Field(gt=0, description="Budget of a training.")
    delta: float | None = Field(default=None, gt=0, lt=1, description="Chance that the bound fails.")
    max_grad_norm: float = Field(default=1.0, gt=0, description="Largest norm of a person's gradient.")
    accountant: Accountant = Field(default="rdp", description="How costs of steps are added up.")


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
        early_stopping: see `EarlyStopping`; not with `privacy`, where all passes are made.
        privacy: see `PrivacyConfig`; null trains without. All `models` must be able to keep it.
    """

    models: tuple[str, ...] = Field(default=DEFAULT, min_length=1, description="Models to train.")
    seed: Seed = Field(default=0, description="Seeds every draw.")
    device: DeviceName = Field(default="auto", description="Where to compute.")
    warm_start: Literal["champion"] | None = Field(default=None, description="What models begin with.")
    refit: bool = Field(default=False, description="Train the winner once more, on all events.")
    early_stopping: EarlyStopping = EarlyStopping()
    privacy: PrivacyConfig | None = None

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
        ConfigError: a key is neither a parameter nor the name of a model, a value is out of bounds, or privacy is asked
            for and one of the models cannot keep it.
    """
    values = section(params, "train")
    config = parse(TrainConfig, {key: value for key, value in values.items() if key not in models.names()}, _WHERE)
    if config.privacy is not None and config.refit:
        raise ConfigError(
            f"{_WHERE}.refit trains the winner a second time on the same people, which the budget of train.privacy "
            "does not hold; set refit to false or privacy to null."
        )
    for name in config.models if config.privacy is not None else ():
        if (why := models.find(name)(model_config(params, name), 0).no_privacy) is not None:
            raise ConfigError(
                f"{_WHERE}.privacy cannot be kept by {name}: {why}; leave {name} out of train.models, or set "
                "train.privacy to null."
            )
    return config


def model_config(params: Mapping[str, Any], name: str) -> ModelConfig:
    """The parameters of the model `name`: what stands below its name in the `train` section, else its defaults.

    Raises:
        ModelError: there is no such model.
        ConfigError: its section is no mapping, a key is unknown, or a value is out of bounds.
    """
    kind = models.find(name)
    return parse(kind.Config, section(params, "train").get(name), f"{_WHERE}.{name}")
