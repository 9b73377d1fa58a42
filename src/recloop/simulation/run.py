"""One simulation: the same days under every regime, and a report."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from recloop.config import Config, load_params
from recloop.data.tables import read_json, read_tables, write_json
from recloop.errors import ConfigError
from recloop.progress import track
from recloop.simulation import days, project, report
from recloop.simulation.crowd import Crowd
from recloop.simulation.hindsight import Hindsight
from recloop.simulation.replay import ReplayCrowd
from recloop.simulation.tastes import TasteConfig, TasteCrowd
from recloop.sources import SourceContext

REGIMES = ("closed", "daily", "never")
"""The loop decides; retraining every night; the first model for ever."""
SETTINGS = "simulation.json"


class ReplayConfig(Config):
    """Recorded events to live through again: those of the project's ``data/``.

    Attributes:
        share: of the events, in time order, that is lived through again.
        day_days: length of a simulated day, in days of the record.
        history: whether the app sends along what the person did so far.
        slate: how many items are shown.
        retrain_events: new events that lead to retraining, besides drift.
    """

    share: float = Field(default=0.3, gt=0, lt=1)
    day_days: float = Field(default=7, gt=0)
    history: bool = True
    slate: int = Field(default=10, ge=1)
    retrain_events: int = Field(default=2000, ge=1)


def simulate(
    root: Path,
    out: Path,
    config: TasteConfig | ReplayConfig,
    *,
    regimes: Sequence[str] = REGIMES,
    tell: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Live through the days under each regime, and write `report.html` and `report.json` to a folder.

    Cut short, the same call goes on with the regimes that were not lived to their end.

    Args:
        root: the checkout whose code is tried, and whose `data/` is replayed.
        out: the folder; each regime has a project in it.
        config: whose tastes, or which record.
        regimes: of `REGIMES`.
        tell: is told what happens.

    Returns:
        the report.

    Raises:
        ConfigError: a regime is unknown, the folder holds another simulation, or `root` is not a checkout.
        RecloopError: a server did not start, or a flow failed.
    """
    root, out = root.absolute(), out.absolute()
    unknown = [regime for regime in regimes if regime not in REGIMES]
    if unknown or not regimes:
        raise ConfigError(f"{unknown[0] if unknown else 'Nothing'} is no regime; choose among {', '.join(REGIMES)}.")
    _claim(out, config)
    params = project.TASTES if isinstance(config, TasteConfig) else _of_the_project(root, config)
    for regime in regimes:
        folder = out / regime
        if (folder / days.NIGHTS).is_file():
            tell(f"{regime}: lived already, in {folder}")
            continue
        shutil.rmtree(folder, ignore_errors=True)
        crowd = _crowd(root, config)
        project.make(root, folder, crowd.past(), params)
        rivals = Hindsight(crowd, params["train"]) if regime == "closed" and isinstance(crowd, TasteCrowd) else None
        days.live(crowd, folder, regime, k=config.slate, hindsight=rivals, tell=tell)
    shift = config.shift if isinstance(config, TasteConfig) else None
    return report.write(out, [regime for regime in REGIMES if (out / regime / days.NIGHTS).is_file()], shift=shift)


def _claim(out: Path, config: TasteConfig | ReplayConfig) -> None:
    settings = {type(config).__name__: config.model_dump(mode="json")}
    if not out.exists():
        write_json(settings, out / SETTINGS)
    elif not (out / SETTINGS).is_file() or read_json(out / SETTINGS) != settings:
        raise ConfigError(f"{out} holds something else than this simulation; remove it or name another with --out.")


def _crowd(root: Path, config: TasteConfig | ReplayConfig) -> Crowd:
    if isinstance(config, TasteConfig):
        return TasteCrowd(config, SourceContext(root=root, data=root / "data", cache=root, progress=track))
    if not (root / "data").is_dir():
        raise ConfigError(f"{root / 'data'} holds no events to replay; run 'recloop ingest' first.")
    tables = read_tables(root / "data")
    return ReplayCrowd(tables, share=config.share, day_days=config.day_days, history=config.history)


def _of_the_project(root: Path, config: ReplayConfig) -> Mapping[str, Any]:
    """The project's own parameters, and a monitor that goes by so many new events."""
    params = {name: values for name, values in load_params(root / "params.yaml").items() if name != "ingest"}
    monitor = dict(params.get("monitor") or {}) | {"min_new_events": config.retrain_events, "cooldown_hours": 12}
    return params | {"monitor": monitor}
