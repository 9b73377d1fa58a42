"""Search for a model's best parameters, on the validation part alone.

Trials are proposed by Optuna's tree-structured Parzen estimator (Bergstra et al., "Algorithms for hyper-parameter
optimization", NIPS 2011), the first is what `params.yaml` says now, and those that fall behind the median of the others
at the same pass are given up. A study is stored as it goes, so a killed one goes on where it was.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from recloop import devices, models
from recloop.config import load_params, parse, section
from recloop.data.tables import replacing_file, write_json
from recloop.errors import ConfigError, ModelError
from recloop.metrics import Metric
from recloop.models.base import FitContext, Model, TrainingData, check_needs, silent
from recloop.parameters import override
from recloop.search import Choice, Real, Space, Whole
from recloop.training.config import TrainConfig, train_config
from recloop.training.inputs import read
from recloop.training.loop import train

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial

FOLDER = Path("artifacts/tuning")
STARTUP_TRIALS = 5
"""Trials that are drawn at random and never given up, before others are compared with them."""

Progress = Callable[[Iterable[Any], str], Iterable[Any]]


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """What a search has found.

    Attributes:
        model: its name.
        metric: what was compared, on the validation part.
        value: the best trial's.
        first: that of the parameters which stood in `params.yaml`.
        parameters: the best trial's, those that were searched.
        trials: how many the study holds by now.
        changes: what was written to `params.yaml`.
    """

    model: str
    metric: str
    value: float
    first: float | None
    parameters: dict[str, Any]
    trials: int
    changes: dict[str, Any]


def tune(
    root: Path,
    name: str,
    *,
    trials: int = 20,
    storage: str | None = None,
    write: bool = True,
    progress: Progress = silent,
    tell: Callable[[str], object] = lambda _: None,
) -> Tuned:
    """Search the space that the model's configuration declares, and write the best parameters to `params.yaml`.

    The stages `validate` and `split` must have run; the test part is not read. The study belongs to the model, the
    training and validation parts, the section `train` and the space: if one of them changes, a new one begins.
    `artifacts/tuning/<model>` gets `trials.csv`, `best.json` and `history.html`, the plot of the search.

    Args:
        root: the project's folder.
        name: the model.
        trials: how many the study shall hold; those of earlier calls count.
        storage: SQLAlchemy URL of the studies' database; by default SQLite in `artifacts/tuning`.
        write: whether to change `params.yaml`.
        progress: wraps an iterable of steps and shows it under a description.
        tell: is told of each change to `params.yaml`.

    Raises:
        ModelError: there is no such model, the data lack what it needs, or no trial could be trained.
        ConfigError: the model declares no space, or the storage cannot be used.
        DataError: the split has not been made, or holds no validation part.
    """
    kind = models.find(name)
    if not kind.Config.search:
        raise ConfigError(f"{name} declares no parameters to search; tune another model.")
    params = load_params(root / "params.yaml")
    config = train_config(params)
    if config.privacy is not None:
        raise ConfigError(
            f"The search for parameters of {name} compares trials by what people did, which train.privacy does not "
            "account for; set train.privacy to null while you tune, on data of people who agreed."
        )
    given = dict(section(params, "train").get(name) or {})
    first = parse(kind.Config, given, f"params.yaml: train.{name}")
    items, data = read(root / "artifacts", kind, config.early_stopping)
    if data.valid is None or not len(data.valid):
        raise ConfigError("The split holds no validation part to compare parameters by; raise split.valid_fraction.")
    check_needs(kind, data)

    spaces = {key: _including(space, getattr(first, key)) for key, space in kind.Config.search.items()}
    search = _Search(kind, given, spaces, config, data, len(items))
    metric = config.early_stopping.metric_of(kind)
    study = _study(root, f"{name}-{_fingerprint(root, name, config, given, spaces)}", metric, storage, config.seed)
    if not study.trials:
        study.enqueue_trial({key: getattr(first, key) for key in spaces})
    for _ in progress(range(max(0, trials - _finished(study))), f"tune {name}"):
        study.optimize(search.objective, n_trials=1, catch=(ModelError,))
    done = [trial for trial in study.trials if trial.state.name == "COMPLETE"]
    if not done:
        raise ModelError(f"None of {len(study.trials)} trials of {name} could be trained; correct train.{name} first.")
    best = study.best_trial
    _write(root / FOLDER / name, study, best, metric.name)
    found = {f"train.{name}.{key}": value for key, value in best.params.items()}
    return Tuned(
        model=name,
        metric=metric.name,
        value=_value(best),
        first=next((_value(trial) for trial in done if trial.number == 0), None),
        parameters=best.params,
        trials=len(study.trials),
        changes=override(root, found, tell) if write else {},
    )


@dataclass(frozen=True)
class _Search:
    kind: type[Model]
    given: Mapping[str, Any]
    spaces: Mapping[str, Space]
    config: TrainConfig
    data: TrainingData
    n_items: int

    def objective(self, trial: "Trial") -> float:
        """Train with the values that the trial proposes; the best validated value."""
        import optuna

        proposed = {key: _suggest(trial, key, space) for key, space in self.spaces.items()}
        where = f"trial {trial.number} of {self.kind.name()}"
        try:
            own = parse(self.kind.Config, {**self.given, **proposed}, where)
        except ConfigError as error:
            raise optuna.TrialPruned(str(error)) from None
        device = devices.choose(self.config.device)
        model = self.kind(own, self.n_items, device)

        def watch(epoch: int, value: float) -> None:
            trial.report(value, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned(f"behind the others after pass {epoch}")

        context = FitContext(device=device, seed=self.config.seed)
        curves = train(model, self.data, self.config, context, watch=watch)
        trial.set_user_attr("passes", len(curves.points))
        best = min if self.config.early_stopping.metric_of(self.kind).lower_is_better else max
        return best(point.value for point in curves.points if point.value is not None)


def _including(space: Space, value: Any) -> Space:
    """The space, widened where it does not hold the value that is in use now."""
    match space:
        case Choice(options):
            return space if value in options else Choice((*options, value))
        case Real(low, high, log):
            return Real(min(low, value), max(high, value), log and value > 0)
        case Whole(low, high, log):
            return Whole(min(low, value), max(high, value), log and value > 0)


def _suggest(trial: "Trial", name: str, space: Space) -> Any:
    match space:
        case Real(low, high, log):
            return trial.suggest_float(name, low, high, log=log)
        case Whole(low, high, log):
            return trial.suggest_int(name, low, high, log=log)
        case Choice(options):
            return trial.suggest_categorical(name, options)


def _study(root: Path, study: str, metric: Metric, storage: str | None, seed: int) -> "Study":
    import optuna
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import SQLAlchemyError

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    (root / FOLDER).mkdir(parents=True, exist_ok=True)
    url = storage or f"sqlite:///{(root / FOLDER).absolute()}/studies.sqlite"
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP_TRIALS)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS, n_warmup_steps=1)
    try:
        database = optuna.storages.RDBStorage(url)
        return optuna.create_study(
            storage=database,
            study_name=study,
            direction="minimize" if metric.lower_is_better else "maximize",
            sampler=sampler,
            pruner=pruner,
            load_if_exists=True,
        )
    except (SQLAlchemyError, ImportError) as error:
        shown = make_url(url).render_as_string() if "://" in url else url
        reason = " ".join(str(getattr(error, "orig", None) or error).split())
        raise ConfigError(f"The studies at {shown} cannot be reached ({reason}); correct --storage.") from None


def _fingerprint(
    root: Path, name: str, config: TrainConfig, given: Mapping[str, Any], spaces: Mapping[str, Space]
) -> str:
    """Differs wherever trials would not be comparable."""
    fixed = {key: value for key, value in given.items() if key not in spaces}
    shown = {key: repr(space) for key, space in spaces.items()}
    plain = [name, config.model_dump(mode="json", exclude={"models"}), fixed, shown]
    digest = hashlib.sha256(json.dumps(plain, sort_keys=True).encode())
    for part in ("train", "valid"):
        digest.update((root / "artifacts" / "split" / f"{part}.parquet").read_bytes())
    return digest.hexdigest()[:12]


def _finished(study: "Study") -> int:
    return sum(trial.state.is_finished() for trial in study.trials)


def _value(trial: "FrozenTrial") -> float:
    assert trial.value is not None
    return trial.value


def _write(folder: Path, study: "Study", best: "FrozenTrial", metric: str) -> None:
    from optuna.visualization import plot_optimization_history

    rows = [
        {
            "trial": trial.number,
            "state": trial.state.name.lower(),
            metric: trial.value,
            "passes": trial.user_attrs.get("passes"),
            "seconds": None if trial.duration is None else round(trial.duration.total_seconds(), 2),
            **trial.params,
        }
        for trial in study.trials
    ]
    with replacing_file(folder / "trials.csv") as scratch:
        pl.DataFrame(rows, infer_schema_length=None, strict=False).write_csv(scratch)
    write_json({"trial": best.number, metric: _value(best), "parameters": best.params}, folder / "best.json")
    with replacing_file(folder / "history.html") as scratch:
        plot_optimization_history(study, target_name=metric).write_html(scratch, include_plotlyjs=True)
