"""What the slates of other models would have earned at the champion's requests, estimated from its log of slates.

Looked at is the first place: its probability under both policies is known, while the probability of a whole slate is a
product over its places, of which so little overlaps that every estimate would be refused. The reward is 1 if the place
was acted on (click, purchase or rating, as `loop.attribution` joins them) and 0 if not. Only slates count

- of the champion's bundle that were shown to somebody known, who is not flagged as a bot, and whose window is over;
- that it did not draft with a challenger, since the propensities of those are of neither policy;
- from the begin of the test window on, since a model has learnt from what people did with earlier ones;
- with a propensity that is exact.

At each of them the other model ranks what it would have ranked then, with the history up to that moment, and the policy
of the section `serve` gives the probability of each first place. Two things that a request may say are not in the log
and are taken to have been absent: a history of its own, and items to exclude.

Shapes: N slates, A actions (items that stood first, the rare ones as one).
"""

# ruff: noqa: N803, N806 - names carry shapes

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recloop import policies
from recloop.columns import ARM, BUNDLE, ITEM, POLICY, POSITION, PROPENSITY, TIME, USER
from recloop.data.sequences import Contexts
from recloop.data.tables import Attributes
from recloop.data.vocabulary import UNKNOWN, Vocabulary
from recloop.errors import ConfigError
from recloop.evaluation.gate import GateConfig, SlateValue, SlateValues
from recloop.evaluation.off_policy import Estimate, Log, RefusedError, doubly_robust, mean_by_action, snips
from recloop.evaluation.off_policy.interval import ratio_of_means
from recloop.evaluation.off_policy.logs import units
from recloop.loop import logged
from recloop.loop.attribution import AttributionConfig, attribute
from recloop.models.base import Model
from recloop.retrieval.exact import rank
from recloop.serving.bundle import Bundle
from recloop.serving.recommender import ServeConfig
from recloop.serving.side import LEARNT, Side

_BATCH = 256
_RARE = 5
"""Items that stood first less often share one expectation of the reward model."""
_FOLDS = 5

Load = Callable[[str], tuple[Model, Vocabulary]]


def slate_values(
    *,
    data: Path,
    champion: str,
    since: int,
    challengers: list[str],
    load: Load,
    train: pl.DataFrame,
    interactions: pl.DataFrame,
    attributes: Attributes,
    serve: ServeConfig,
    config: GateConfig,
) -> SlateValues:
    """Estimates for all challengers by `snips` and `doubly_robust`, as far as the log allows them.

    Args:
        data: the data folder, with impressions and interactions.
        champion: the id of its bundle.
        since: the begin of the test window, microseconds since 1970 UTC.
        challengers: names of models.
        load: gives the model of a name, and its catalogue.
        train: canonical interactions that the models were trained on, as are the next, with all that are known.
        interactions: for the histories at the requests.
        attributes: what else is known.
        serve: the policy of the challengers.
        config: how many slates, level and floors, and the seed that deals people to folds.

    Raises:
        DataError: a file of the data is damaged.
    """
    if not any((data / "impressions").glob("*.parquet")):
        return SlateValues()
    rows = _first_places(data, champion, since).sort(TIME).tail(config.off_policy.slates)
    if remark := _nothing_to_learn(rows, serve):
        return SlateValues(remark=remark)
    floors, rewards = config.off_policy.floors, rows["reward"].to_numpy()
    counted = ratio_of_means(
        rewards, np.ones(len(rewards)), units(rows[USER].to_numpy(), len(rewards)), level=floors.level
    )
    if not np.isfinite(counted.error):
        return SlateValues(
            remark="The champion's logged slates are all of one person, so there is no estimate from them."
        )
    estimates, refused = dict[str, list[SlateValue]](), dict[str, str]()
    for name in challengers:
        try:
            targets = _Targets(
                name,
                *load(name),
                rows=rows,
                train=train,
                interactions=interactions,
                attributes=attributes,
                serve=serve,
            )
            estimates[name] = _estimates(rows, targets, config)
        except (RefusedError, ConfigError) as refusal:
            refused[name] = f"There is no off-policy estimate of {name}: {refusal}"
    return SlateValues(
        slates=rows.height,
        logged=SlateValue(
            method="logged",
            value=counted.value,
            interval=(counted.low, counted.high),
            level=floors.level,
            effective=rows[USER].n_unique(),
        ),
        estimates=estimates,
        refused=refused,
    )


def _first_places(data: Path, champion: str, since: int) -> pl.DataFrame:
    """One row a slate of the champion: who, when, the first item, its propensity, the policy, and the reward."""
    newest = max((int(frame[TIME].max()) for frame in _all(data)), default=0)  # pyright: ignore[reportArgumentType]
    with TemporaryDirectory() as scratch:
        outcome = attribute(
            events=logged.events(data),
            impressions=logged.impressions(data),
            config=AttributionConfig(),
            now=newest,
            scratch=Path(scratch),
        )
        acted = (pl.col("click") == 1) | (pl.col("purchase") == 1) | pl.col("rating").is_not_null()
        frames = [
            frame.filter(
                pl.col(POSITION) == 0,
                pl.col(BUNDLE) == champion,
                pl.col(ARM) != "interleaved",
                pl.col(TIME) >= since,
                pl.col(USER).is_not_null(),
                pl.col(PROPENSITY).is_not_null(),
                "complete",
                ~pl.col("flagged"),
            ).select(USER, TIME, ITEM, PROPENSITY, POLICY, acted.cast(pl.Float64).alias("reward"))
            for frame in outcome.frames()
        ]
    schema = {USER: pl.String, TIME: pl.Int64, ITEM: pl.String, PROPENSITY: pl.Float64, POLICY: pl.String}
    return pl.concat([pl.DataFrame(schema=schema | {"reward": pl.Float64}), *frames])


def _all(data: Path) -> Iterator[pl.DataFrame]:
    yield from logged.events(data)
    yield from logged.impressions(data)


def _nothing_to_learn(rows: pl.DataFrame, serve: ServeConfig) -> str | None:
    if rows.is_empty():
        return (
            "There is no off-policy estimate, as no slate of the champion in the test window was shown to somebody "
            "known and is old enough to judge."
        )
    if estimated := sorted(name for name in rows[POLICY].unique() if not policies.exact(name)):
        return (
            f"Off-policy estimates are refused, as the propensities of {', '.join(estimated)} are estimated, not exact."
        )
    if (rows[PROPENSITY] == 1).all():
        return (
            f"Off-policy estimates are refused, as nothing was left to chance at the first place of the champion's "
            f"{rows.height} logged slates (all propensities are 1), and what was never shown cannot be judged."
        )
    if (policies.find(serve.policy).NEEDS | serve.options().needs) & LEARNT:
        return (
            f"There is no off-policy estimate, as the policy '{serve.policy}' learns from clicks, and what it would "
            "have shown at a logged request cannot be told."
        )
    return None


class _Targets:
    """What one model with the policy would have put first: the probability of what was shown, and of all else.

    Attributes:
        shown: float64 (N,), of the logged item.
        actions: int64 (N,), which of A actions the logged item is.
        all: float64 (N, A).
    """

    def __init__(
        self,
        name: str,
        model: Model,
        catalogue: Vocabulary,
        *,
        rows: pl.DataFrame,
        train: pl.DataFrame,
        interactions: pl.DataFrame,
        attributes: Attributes,
        serve: ServeConfig,
    ) -> None:
        policy, options = policies.find(serve.policy), serve.options()
        side = Side.of(_bundle(name, model, catalogue, train, attributes), policy.NEEDS | options.needs, serve.policy)
        asking = Vocabulary(rows[USER])
        people = attributes.users if "user_features" in model.needs | model.takes else None
        histories = Contexts.from_frame(interactions, asking, catalogue, people)
        row_N, stop_N = asking.encode(rows[USER]), _stops(histories, asking.encode(rows[USER]), rows[TIME].to_numpy())
        counts = rows[ITEM].value_counts()
        named = Vocabulary(counts.filter(pl.col("count") >= _RARE)[ITEM])
        rare = len(named)
        self.actions = _or_rare(named.encode(rows[ITEM]), rare)
        action_of = _or_rare(named.encode(catalogue.ids), rare)
        item_N = catalogue.encode(rows[ITEM])
        self.shown, self.all = np.zeros(rows.height), np.zeros((rows.height, rare + 1))
        for start in range(0, rows.height, _BATCH):
            part = slice(start, min(start + _BATCH, rows.height))
            contexts = histories.take(row_N[part], stop_N[part])
            ranked = rank(model, contexts, min(serve.candidates, len(catalogue)), mask_seen=serve.mask_seen)
            for at, n in enumerate(range(part.start, part.stop)):
                left = ranked.items[at] != UNKNOWN
                history = contexts.items[contexts.offsets[at] : contexts.offsets[at + 1]]
                given = side.candidates(ranked.items[at][left], ranked.scores[at][left], history)
                chances = policies.first_place(policy, given, options)
                if chances is None:
                    raise ConfigError(f"the policy '{serve.policy}' does not say how likely each first place is.")
                self.shown[n] = chances[given.items == item_N[n]].sum()
                np.add.at(self.all[n], action_of[given.items], chances)
        self.shown, self.all = np.minimum(self.shown, 1.0), np.minimum(self.all, 1.0)


def _estimates(rows: pl.DataFrame, targets: _Targets, config: GateConfig) -> list[SlateValue]:
    rewards, users, floors = rows["reward"].to_numpy(), rows[USER].to_numpy(), config.off_policy.floors
    log = Log(rewards=rewards, propensities=rows[PROPENSITY].to_numpy(), targets=targets.shown, clusters=users)
    first = snips(log, floors)
    folds = min(_FOLDS, rows[USER].n_unique())
    predicted = mean_by_action(rewards, targets.actions, targets.all, clusters_N=users, folds=folds, seed=config.seed)
    return [_value(first), _value(doubly_robust(log, predicted, floors))]


def _value(found: Estimate) -> SlateValue:
    return SlateValue(
        method=found.method,
        value=found.value,
        interval=(found.low, found.high),
        level=found.level,
        effective=found.overlap.effective,
    )


def _stops(histories: Contexts, row_N: NDArray[np.int64], moment_N: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many events of each slate's person lie before it."""
    starts, ends = histories.offsets[row_N], histories.offsets[row_N + 1]
    return np.array(
        [
            np.searchsorted(histories.timestamps[start:end], moment, side="left")
            for start, end, moment in zip(starts, ends, moment_N, strict=True)
        ],
        dtype=np.int64,
    )


def _or_rare(index: NDArray[np.int64], rare: int) -> NDArray[np.int64]:
    return np.where(index == UNKNOWN, rare, index)


def _bundle(name: str, model: Model, catalogue: Vocabulary, train: pl.DataFrame, attributes: Attributes) -> Bundle:
    """What a policy may ask about items, as if the model were packaged with what it was trained on."""
    users, items = Vocabulary(train[USER]), catalogue.ids.to_frame(ITEM)
    if attributes.items is not None:
        known = attributes.items.unique(ITEM, keep="first")
        items = items.join(known, on=ITEM, how="left", maintain_order="left")
    return Bundle(
        manifest={"id": name},
        model=model,
        vocabulary=catalogue,
        users=users,
        histories=Contexts.from_frame(train, users, catalogue),
        items=items,
    )
