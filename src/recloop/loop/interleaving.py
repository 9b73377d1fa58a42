"""Team-draft interleaving: two rankings on one slate, and whose items people take.

Radlinski, Kurup and Joachims, "How does clickthrough data reflect retrieval quality?", CIKM 2008. It needs far fewer
requests than a canary to tell which of two rankings is liked better, since the same person sees both at once; it tells
nothing of by how much, nor of what slates as a whole are worth. Shapes: N items of a ranking, K places, R requests.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

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


@dataclass(frozen=True, kw_only=True)
class Contest:
    """What R requests say.

    Attributes:
        wins: requests on which more places of the champion, and of the challenger, were acted on.
        ties: requests on which equally many were, none included.
        p: two-sided, of the sign test on the wins: the probability of a result as lopsided if both were liked equally.
    """

    wins: tuple[int, int]
    ties: int
    p: float


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


def contest(acted: Sequence[Sequence[Team]]) -> Contest:
    """Who wins.

    Args:
        acted: for each of R requests, the teams of the places that were acted on.
    """
    margins = [sum(1 if team == "challenger" else -1 for team in teams) for teams in acted]
    wins = (sum(margin < 0 for margin in margins), sum(margin > 0 for margin in margins))
    p = float(binomtest(wins[1], sum(wins)).pvalue) if sum(wins) else 1.0
    return Contest(wins=wins, ties=len(margins) - sum(wins), p=p)
