"""The tables of the store; all are append-only, but for what `erasures` records as gone and when a key was revoked.

Times are int64 microseconds since 1970 UTC, so that both databases keep them exactly and compare them alike. `seq`
grows with every row, and no value of it comes twice.

A column that is added to a table later must be nullable: a database that was made before gets it when it is opened.
"""

from sqlalchemy import JSON, BigInteger, Column, Double, Identity, Integer, MetaData, Table, Text

METADATA = MetaData()


def _seq() -> Column[int]:
    kind = BigInteger().with_variant(Integer(), "sqlite")
    return Column("seq", kind, Identity(always=True), primary_key=True)


EVENTS = Table(
    "events",
    METADATA,
    _seq(),
    Column("event_id", Text, nullable=False, unique=True),
    Column("user_id", Text, nullable=False),
    Column("item_id", Text, nullable=False),
    Column("event", Text, nullable=False),
    Column("value", Double),
    Column("request_id", Text),
    Column("timestamp", BigInteger, nullable=False),
    Column("received", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)

SLATES = Table(
    "slates",
    METADATA,
    _seq(),
    Column("request_id", Text, nullable=False, unique=True),
    Column("user_id", Text),
    Column("timestamp", BigInteger, nullable=False),
    Column("bundle", Text, nullable=False),
    Column("policy", Text, nullable=False),
    Column("arm", Text, nullable=False),
    Column("candidates", Text),
    Column("n_candidates", Integer),
    Column("seed", BigInteger),
    Column("places", Integer),
    Column("items", Text),
    Column("scores", Text),
    Column("propensities", Text),
    Column("bundles", Text),
    Column("took", BigInteger),
    Column("fallback", Text),
    Column("failed", Text),
    Column("worker", Text, nullable=False),
    Column("serial", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)

DEPLOYMENTS = Table(
    "deployments",
    METADATA,
    _seq(),
    Column("timestamp", BigInteger, nullable=False),
    Column("action", Text, nullable=False),
    Column("bundle", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("previous", Text),
    Column("share", Double),
    Column("after_slate", BigInteger),
    Column("after_event", BigInteger),
    Column("reason", Text, nullable=False),
    sqlite_autoincrement=True,
)

DECISIONS = Table(
    "decisions",
    METADATA,
    _seq(),
    Column("timestamp", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("record", JSON, nullable=False),
    sqlite_autoincrement=True,
)

ERASURES = Table(
    "erasures",
    METADATA,
    _seq(),
    Column("timestamp", BigInteger, nullable=False),
    Column("place", Text, nullable=False),
    Column("digest", Text, index=True),
    Column("until", BigInteger, nullable=False),
    Column("asked_by", Text, nullable=False),
    Column("last_event", BigInteger, nullable=False),
    Column("counts", JSON, nullable=False),
    sqlite_autoincrement=True,
)

KEYS = Table(
    "keys",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

API_KEYS = Table(
    "api_keys",
    METADATA,
    _seq(),
    Column("id", Text, nullable=False, unique=True),
    Column("digest", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("scopes", JSON, nullable=False),
    Column("rate", Double),
    Column("burst", Integer),
    Column("created", BigInteger, nullable=False),
    Column("revoked", BigInteger),
    sqlite_autoincrement=True,
)

AUDIT = Table(
    "audit",
    METADATA,
    _seq(),
    Column("timestamp", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("subject", Text),
    sqlite_autoincrement=True,
)
