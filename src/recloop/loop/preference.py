"""Which of two bundles do people like better? A test on interleaved slates that may be looked at after every user.

A user prefers the bundle more of whose places they acted on, over their interleaved slates together; who acted on as
many of both is tied. Where both are liked alike, the coins of the draft make either preference as likely (Radlinski,
Kurup and Joachims, "How does clickthrough data reflect retrieval quality?", CIKM 2008), so of n users with a
preference the w who prefer the challenger are fair coins. Then, for any prior of the challenger's chance q,

    M = 2^n ∫ q^w (1 - q)^(n - w) dBeta(a, a)(q) = 2^n B(a + w, a + n - w) / B(a, a)

is a non-negative martingale that begins at 1, so it ever exceeds 1 / alpha with probability at most alpha (Ville's
inequality): the mixture test of Robbins ("Statistical methods related to the law of the iterated logarithm", Annals of
Mathematical Statistics, 1970). It is exact for any n, and looking often costs nothing. Users are the units, since the
slates of one person go together; ties do not count, and do not speak for either. a = 10 expects q from 0.3 to 0.7.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import betaln

from recloop.loop.sequential import OF_REWARD, Judgement, SequentialConfig

_PRIOR = 10.0


def evidence(wins: npt.ArrayLike, losses: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """The logarithm of M.

    Args:
        wins: users who prefer the challenger, any shape.
        losses: users who prefer the champion, of the same shape.
    """
    won, lost = np.asarray(wins, dtype=np.float64), np.asarray(losses, dtype=np.float64)
    return (won + lost) * math.log(2) + betaln(_PRIOR + won, _PRIOR + lost) - betaln(_PRIOR, _PRIOR)


def judge(margins: Sequence[int], config: SequentialConfig, *, days: float) -> Judgement:
    """Promote, roll back or go on.

    Args:
        margins: for each user, the challenger's places acted on less the champion's.
        config: alpha, of which the reward's part counts, and the longest time.
        days: since the trial began.
    """
    wins, losses = sum(margin > 0 for margin in margins), sum(margin < 0 for margin in margins)
    users = {"canary": wins, "champion": losses, "tied": len(margins) - wins - losses}
    p = min(1.0, math.exp(-float(evidence(wins, losses))))
    counted = f"{wins} users prefer the canary, {losses} the champion (p = {p:.2g}), {users['tied']} neither"
    if p <= config.alpha * OF_REWARD:
        verdict = "promote" if wins > losses else "roll back"
        return Judgement(verdict=verdict, reason=f"{counted}.", users=users, interval={})
    if days >= config.max_days:
        reason = f"{config.max_days:g} days have passed, and neither is preferred for sure: {counted}."
        return Judgement(verdict="undecided", reason=reason, users=users, interval={})
    return Judgement(verdict="go on", reason=f"That may be chance: {counted}.", users=users, interval={})
