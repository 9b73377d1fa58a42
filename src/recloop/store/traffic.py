"""Who is served by which bundle: the plan that the rows of `deployments` amount to, and the arm of each user.

| action     | from then on                                                                                    |
| ---------- | ----------------------------------------------------------------------------------------------- |
| `promote`  | the bundle is the champion; a canary is over, since it was measured against another champion     |
| `rollback` | the same with a bundle that was promoted before                                                  |
| `canary`   | the bundle is shown to a `share` of the users, instead of an earlier canary                      |
| `interleave` | that share is shown slates of the bundle and the champion, instead of an earlier canary       |
| `shadow`   | the bundle scores every request and is not shown, instead of an earlier shadow                   |
| `end`      | the bundle is canary or shadow no longer                                                         |

A `canary` row of the bundle that is the canary already changes its share and nothing else; likewise `interleave`. One
that goes from one to the other begins anew.
A row that cannot be is passed over: a rollback to what was never promoted, a canary without a share between 0 and 1, a
canary or shadow without a champion or of the champion itself.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, Literal

from recloop.store.records import Deployment, is_change

_BITS = 53
"""As many as a float holds exactly."""


@dataclass(frozen=True, kw_only=True)
class Canary:
    """A challenger that a share of the users is served by.

    Attributes:
        bundle: its id.
        model: its model's name.
        share: of the users, in (0, 1).
        salt: of the draw of users; another for each canary.
        since: when it began, microseconds since 1970 UTC.
        share_since: when the share became what it is.
        interleaved: whether those users are shown slates of both instead.
        after_slate, after_event: slates served and events that came since then have a greater `seq`.
    """

    bundle: str
    model: str
    share: float
    salt: str
    since: int
    share_since: int
    interleaved: bool = False
    after_slate: int = 0
    after_event: int = 0


@dataclass(frozen=True, kw_only=True)
class Shadow:
    """A challenger that scores and is not shown.

    Attributes:
        bundle: its id.
        model: its model's name.
        since: when it began, microseconds since 1970 UTC.
    """

    bundle: str
    model: str
    since: int


@dataclass(frozen=True, kw_only=True)
class TrafficPlan:
    """Who serves whom.

    Attributes:
        champion: the deployment in force, if any.
        canary: who else is shown; never the champion.
        shadow: who scores besides; never the champion.
    """

    champion: Deployment | None = None
    canary: Canary | None = None
    shadow: Shadow | None = None

    @property
    def bundles(self) -> frozenset[str]:
        """Ids of all bundles in traffic."""
        return frozenset(part.bundle for part in (self.champion, self.canary, self.shadow) if part)


def plan(rows: Iterable[Deployment]) -> TrafficPlan:
    """What deployments, oldest first, amount to."""
    current, promoted = TrafficPlan(), set[str]()
    for row in rows:
        if is_change(row, promoted):
            promoted.add(row.bundle)
            shadow = current.shadow if current.shadow and current.shadow.bundle != row.bundle else None
            current = TrafficPlan(champion=row, shadow=shadow)
        elif row.action == "end":
            canary, shadow = current.canary, current.shadow
            current = replace(
                current,
                canary=None if canary and canary.bundle == row.bundle else canary,
                shadow=None if shadow and shadow.bundle == row.bundle else shadow,
            )
        elif current.champion is None or current.champion.bundle == row.bundle:
            continue
        elif row.action in {"canary", "interleave"} and row.share is not None and 0 < row.share < 1:
            current = replace(current, canary=_canary(row, current.canary, row.share))
        elif row.action == "shadow":
            current = replace(current, shadow=Shadow(bundle=row.bundle, model=row.model, since=row.timestamp))
    return current


def point(salt: str, unit: str) -> float:
    """Where a user (or request) lies in [0, 1): uniform over units, independent between salts, always the same.

    The first 53 bits of BLAKE2b of the unit, keyed with the salt.
    """
    key = blake2b(salt.encode("utf-8", "surrogatepass"), digest_size=32).digest()
    digest = blake2b(unit.encode("utf-8", "surrogatepass"), key=key, digest_size=8).digest()
    return (int.from_bytes(digest) >> (64 - _BITS)) / (1 << _BITS)


def arm(current: TrafficPlan, user_id: str | None, request_id: str) -> Literal["champion", "canary", "interleaved"]:
    """Whose slate a request shows: the same for all requests of a user; drawn anew for each request of nobody.

    A user is in the canary if their point lies below its share, so whoever is in it stays when the share grows.
    """
    canary = current.canary
    if canary is None:
        return "champion"
    unit = f"request {request_id}" if user_id is None else f"user {user_id}"
    if point(canary.salt, unit) >= canary.share:
        return "champion"
    return "interleaved" if canary.interleaved else "canary"


def _canary(row: Deployment, before: Canary | None, share: float) -> Canary:
    now: dict[str, Any] = {
        "share": share,
        "share_since": row.timestamp,
        "after_slate": row.after_slate or 0,
        "after_event": row.after_event or 0,
    }
    both = row.action == "interleave"
    if before and before.bundle == row.bundle and before.interleaved == both:
        return replace(before, **now)
    salt = f"{row.bundle} {row.seq}"
    return Canary(bundle=row.bundle, model=row.model, salt=salt, since=row.timestamp, interleaved=both, **now)
