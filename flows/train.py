"""One run of all stages, from validation to the packaged winner, with what may be varied as a form."""

from collections.abc import Sequence
from typing import Annotated, Any, get_args

from prefect import flow, get_run_logger
from prefect.states import Completed, Failed, State
from pydantic import Field

from flows import terminal
from flows.forms import allowed, choices, chosen
from flows.ingest import take_in
from flows.project import exclusive
from flows.stages import run_stages, summary
from recloop import models as families
from recloop import sources
from recloop.config import Seed, load_params, parse, section
from recloop.data.splits import SplitConfig
from recloop.devices import DeviceName
from recloop.errors import ConfigError, RecloopError
from recloop.parameters import override
from recloop.training.config import TrainConfig

ModelName = choices("ModelName", families.names(), keep=None)
NewData = choices("NewData", sources.names(), keep="no new data")
SplitStrategy = choices("SplitStrategy", allowed(SplitConfig.model_fields["strategy"]))
SplitTargets = choices("SplitTargets", allowed(SplitConfig.model_fields["targets"]))
Device = choices("Device", get_args(DeviceName))
WarmStart = choices("WarmStart", ["champion", FRESH := "fresh values"])
Refit = choices("Refit", [YES := "yes", "no"])


@flow(name="train")
def train(
    *,
    models: list[ModelName] = [],  # noqa: B006 - never changed, and the form starts from a list
    source: NewData = NewData.KEEP,
    split_strategy: SplitStrategy = SplitStrategy.KEEP,
    split_targets: SplitTargets = SplitTargets.KEEP,
    test_fraction: Annotated[float, Field(gt=0, lt=1)] | None = None,
    device: Device = Device.KEEP,
    seed: Seed | None = None,
    epochs: Annotated[int, Field(ge=1, le=10_000)] | None = None,
    warm_start: WarmStart = WarmStart.KEEP,
    refit: Refit = Refit.KEEP,
) -> State:
    """Bring every stage up to date: validate, split, pretrained, train, evaluate, gate, refit, package, drift.

    What is left alone stays as it is in params.yaml; what is set is checked, and written there before the first stage
    runs.

    Args:
        models: Models to train and compare (train.models); none means those of params.yaml.
        source: Ingest from this source first; its options stand in params.yaml.
        split_strategy: Training and test are divided by time for everyone, or by each person's last event.
        split_targets: What is asked of a person's events after the split: each in turn, the last, or all as one set.
        test_fraction: Share of the newest events that make the test, above 0 and below 1 (split.test_fraction).
        device: Where to train (train.device); auto takes CUDA where there is one.
        seed: Seed of all draws while training (train.seed).
        epochs: Most passes over the data, for those of the models that have this parameter (train.MODEL.epochs).
        warm_start: What the model of the champion's kind begins with (train.warm_start).
        refit: Whether the winner is trained once more on all events before it is packaged (train.refit).
    """
    log = get_run_logger()
    try:
        with exclusive(log) as working:
            training = _set(models=[str(name) for name in models] or None, device=chosen(device), seed=seed)
            if begin := chosen(warm_start):
                training["warm_start"] = None if begin == FRESH else begin
            if again := chosen(refit):
                training["refit"] = again == YES
            split = _set(strategy=chosen(split_strategy), targets=chosen(split_targets), test_fraction=test_fraction)
            params = load_params(working.root / "params.yaml")
            listed = _set(models=section(params, "train").get("models"))
            config = parse(TrainConfig, listed | training, "params.yaml: train")
            parse(SplitConfig, section(params, "split") | split, "params.yaml: split")
            wanted = {f"train.{key}": value for key, value in training.items()}
            wanted |= {f"split.{key}": value for key, value in split.items()}
            if epochs is not None:
                wanted |= _epochs(config.models, epochs)
            if new := chosen(source):
                take_in(working, new, log)
            override(working.root, wanted, log.info)
            states = run_stages(working)
    except RecloopError as error:
        return Failed(message=str(error))
    return Completed(message=summary(states))


def _set(**values: Any) -> dict[str, Any]:
    """The values that are not None."""
    return {name: value for name, value in values.items() if value is not None}


def _epochs(names: Sequence[str], epochs: int) -> dict[str, int]:
    """Where `params.yaml` holds the number of epochs of those of the models that have one."""
    found = [name for name in names if "epochs" in families.find(name).Config.model_fields]
    if not found:
        raise ConfigError(f"epochs is set, but none of {', '.join(names)} trains in epochs; leave it empty.")
    return {f"train.{name}.epochs": epochs for name in found}


if __name__ == "__main__":
    terminal.main(train)
