"""Team-draft interleaving: two rankings on one slate, and whose items people take.

Radlinski, Kurup and Joachims, "How does clickthrough data reflect retrieval quality?", CIKM 2008. Since the
same person sees both at once, it does not matter how much people differ; it tells which ranking is liked better, but
nothing of by how much, nor of what slates as a whole are worth. `loop.preference` judges. Shapes: N items of a ranking,
K places.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from recloop.serving.asking import Places, Recommendation, Scored
from recloop.serving.recommender import seed_of

Team = Literal["champion", "challenger"]
TEAMS: tuple[Team, Team] = ("champion", "challenger")


@dataclass(frozen=True, kw_only=True)
class Interleaved:
    """A slate of both.

    Attributes:
        items: int64 (K,), the first place first, none twice.
        teams: (K,), whose pick each is.
    """

    items: NDArray[np.int64]
    teams: tuple[Team, ...]


def team_draft(
    champion: NDArray[np.integer], challenger: NDArray[np.integer], k: int, rng: np.random.Generator
) -> Interleaved:
    """Let both pick in turns: in each round a coin says who begins, and each picks the best of its own that is left.

    Args:
        champion: (N,), item indices, best first, none twice.
        challenger: the same of the other ranking, of any length.
        k: places.
        rng: for the coins.

    Returns:
        At most k places; where one ranking has nothing left, the other goes on alone.
    """
    rankings = (champion.tolist(), challenger.tolist())
    at, picks = [0, 0], [0, 0]
    taken: set[int] = set()
    items: list[int] = []
    teams: list[Team] = []
    while len(items) < k:
        for team, ranking in enumerate(rankings):
            while at[team] < len(ranking) and ranking[at[team]] in taken:
                at[team] += 1
        able = [team for team, ranking in enumerate(rankings) if at[team] < len(ranking)]
        if not able:
            break
        if len(able) == 1:
            team = able[0]
        elif picks[0] == picks[1]:
            team = int(rng.integers(2))
        else:
            team = int(picks[1] < picks[0])
        item = rankings[team][at[team]]
        taken.add(item)
        items.append(item)
        teams.append(TEAMS[team])
        picks[team] += 1
    return Interleaved(items=np.array(items, dtype=np.int64), teams=tuple(teams))


def merge(champion: Recommendation, challenger: Recommendation, k: int, request_id: str) -> tuple[Places, list[Team]]:
    """One slate of two answers to a request, and whose pick each place is.

    Args:
        champion: its answer.
        challenger: its answer; the two may know different items.
        k: places.
        request_id: what the coins depend on, so that the same answers give the same slate.
    """
    answers: dict[Team, list[Scored]] = {"champion": champion.items, "challenger": challenger.items}
    ids = list(dict.fromkeys(one.item_id for items in answers.values() for one in items))
    number = {item: index for index, item in enumerate(ids)}
    first, second = (np.array([number[one.item_id] for one in answers[team]], dtype=np.int64) for team in TEAMS)
    drafted = team_draft(first, second, k, np.random.default_rng(seed_of(request_id, "team draft")))
    scored = {team: {one.item_id: one for one in items} for team, items in answers.items()}
    picks = zip(drafted.items.tolist(), drafted.teams, strict=True)
    return Places(scored[team][ids[item]] for item, team in picks), list(drafted.teams)
