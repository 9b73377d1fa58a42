"""API keys of the service: the store keeps a digest of each, and the key itself is seen once, by whoever makes it.

A key is ``recloop_ID_SECRET``, with 32 random bytes of secret. Its digest is the plain SHA-256 of the whole text. Slow
or salted hashes protect secrets that can be guessed, such as passwords; 256 random bits cannot be, so a fast hash gives
away nothing, and the service can afford it in every request.
"""

import hashlib
import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, insert, select, update

from recloop.errors import ConfigError
from recloop.store import audit
from recloop.store.connection import reading, writing
from recloop.store.schema import API_KEYS

SCOPES = ("recommend", "feedback", "admin")
_ID_BYTES = 6
_SECRET_BYTES = 32


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """What is known of a key.

    Attributes:
        id: public; what logs and the audit call the key by.
        digest: of the key, see `digest`.
        name: whose it is or what for.
        scopes: what it may do.
        rate: requests a second that it may make of each worker in the long run; `None` for no limit.
        burst: requests at once after a pause; `None` without a rate.
        created: when, microseconds since 1970 UTC.
        revoked: since when it does not count any longer; `None` if it does.
    """

    id: str
    digest: str
    name: str
    scopes: tuple[str, ...]
    rate: float | None
    burst: int | None
    created: int
    revoked: int | None = None


def digest(key: bytes) -> str:
    """SHA-256 of a key, 64 hexadecimal digits."""
    return hashlib.sha256(key).hexdigest()


def create(
    engine: Engine, name: str, scopes: Sequence[str], *, rate: float | None, burst: int | None, now: int
) -> tuple[ApiKey, str]:
    """Make a key; see `Store.create_key`."""
    _check(name, scopes, rate, burst)
    key_id = secrets.token_hex(_ID_BYTES)
    text = f"recloop_{key_id}_{secrets.token_urlsafe(_SECRET_BYTES)}"
    if rate is not None and burst is None:
        burst = max(1, math.floor(rate))
    key = ApiKey(
        id=key_id,
        digest=digest(text.encode()),
        name=name,
        scopes=tuple(scope for scope in SCOPES if scope in scopes),
        rate=rate,
        burst=burst,
        created=now,
    )
    with writing(engine) as connection:
        connection.execute(insert(API_KEYS), vars(key) | {"scopes": list(key.scopes)})
        audit.note(connection, actor=audit.LOCAL, action="create key", outcome="done", subject=key.id, now=now)
    return key, text


def revoke(engine: Engine, key_id: str, now: int) -> ApiKey:
    """Let a key count no longer; see `Store.revoke_key`."""
    one = API_KEYS.c.id == key_id
    with writing(engine) as connection:
        counts = one & API_KEYS.c.revoked.is_(None)
        if connection.execute(update(API_KEYS).where(counts).values(revoked=now)).rowcount:
            audit.note(connection, actor=audit.LOCAL, action="revoke key", outcome="done", subject=key_id, now=now)
        row = connection.execute(select(API_KEYS).where(one)).mappings().one_or_none()
    if row is None:
        raise ConfigError(f"There is no key '{key_id}'; 'recloop keys list' shows the ids of all keys.")
    return _key(row)


def api_keys(engine: Engine) -> list[ApiKey]:
    """All keys, oldest first."""
    with reading(engine) as connection:
        rows = connection.execute(select(API_KEYS).order_by(API_KEYS.c.seq)).mappings().all()
    return [_key(row) for row in rows]


def _check(name: str, scopes: Sequence[str], rate: float | None, burst: int | None) -> None:
    known = ", ".join(SCOPES)
    if not name.strip():
        raise ConfigError("A key needs a name; say whose it is or what for.")
    if not scopes:
        raise ConfigError(f"A key without a scope may do nothing; give it some of: {known}.")
    for scope in scopes:
        if scope not in SCOPES:
            raise ConfigError(f"There is no scope '{scope}'; choose from: {known}.")
    if rate is not None and not 0 < rate < math.inf:
        raise ConfigError(f"A rate of {rate:g} requests a second is no limit; give a positive number, or none at all.")
    if burst is not None and (rate is None or burst < 1):
        raise ConfigError(f"A burst of {burst} needs a rate and at least 1; give both, or neither.")


def _key(row: Mapping[Any, Any]) -> ApiKey:
    values: dict[str, Any] = {name: value for name, value in row.items() if name != "seq"}
    values["scopes"] = tuple(values["scopes"])
    return ApiKey(**values)
