"""Pseudonyms of user ids: an id always has the same one, and without the key nobody can go from one to the other.

A pseudonym is the first 128 bits of HMAC-SHA256 (RFC 2104) of ``user:`` and the id's UTF-8 bytes under a secret key, as
32 hexadecimal digits. Among n users two share one with a probability below ``n^2 / 2^129``: 10^-20 for 10^9 users.
Whoever has the key can compute the pseudonym of any id, so the key is what must be kept apart: it comes from the
environment and is written nowhere. What is written is its check value, the first 64 bits of the HMAC of ``check:``, by
which a wrong key is noticed.
"""

import hmac
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import polars as pl

from recloop.columns import USER
from recloop.data.tables import read_json, write_json
from recloop.errors import ConfigError, DataError

FILE = "pseudonyms.json"
"""In a data folder: says that its user ids are pseudonyms, and by which key."""
DIGITS = 32
KEY_CHARACTERS = 32
_CHECK_DIGITS = 16
_FORM = re.compile(rf"^[0-9a-f]{{{DIGITS}}}$")


@dataclass(frozen=True, kw_only=True)
class Pseudonyms:
    """How user ids become pseudonyms.

    Attributes:
        variable: the environment variable that holds the key.
        key: the key's bytes.
    """

    variable: str
    key: bytes = field(repr=False)

    @classmethod
    def from_environment(cls, variable: str, check: str | None = None) -> Self:
        """Read the key.

        Args:
            variable: which environment variable holds it; its UTF-8 bytes are the key.
            check: the check value of the key that is needed, if one was used before.

        Raises:
            ConfigError: the variable is not set, the key is too short, or it is not the one that is needed.
        """
        key = os.environ.get(variable, "")
        if len(key) < KEY_CHARACTERS:
            problem = f"has only {len(key)} characters" if key else "is not set"
            raise ConfigError(
                f"The key of the pseudonyms in the environment variable {variable} {problem}, and {KEY_CHARACTERS} are "
                f"needed; set the key, or make the first one with 'openssl rand -hex 32'."
            )
        found = cls(variable=variable, key=key.encode())
        if check is not None and found.check != check:
            raise ConfigError(
                f"The key in the environment variable {variable} is not the one that the pseudonyms were made with; "
                f"set that key."
            )
        return found

    @property
    def check(self) -> str:
        """The key's check value, 16 hexadecimal digits."""
        return hmac.digest(self.key, b"check:", "sha256").hex()[:_CHECK_DIGITS]

    def of(self, user_id: str) -> str:
        """The pseudonym of an id."""
        return hmac.digest(self.key, b"user:" + user_id.encode(), "sha256").hex()[:DIGITS]

    def in_frame(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The same rows with pseudonyms in the place of user ids; a missing id stays missing."""
        names = {user: self.of(user) for user in frame[USER].drop_nulls().unique()}
        return frame.with_columns(pl.col(USER).replace_strict(names, default=None, return_dtype=pl.String))

    def record(self) -> dict[str, Any]:
        """What is written about them: no key."""
        return {"variable": self.variable, "check": self.check, "digits": DIGITS}


def recorded(data: Path) -> dict[str, Any] | None:
    """What a data folder says about its pseudonyms; `None` if its user ids are none."""
    return read_json(data / FILE) if (data / FILE).is_file() else None


def from_record(record: dict[str, Any]) -> Pseudonyms:
    """The pseudonyms that a record is about, with the key from the environment; see `Pseudonyms.from_environment`."""
    return Pseudonyms.from_environment(record["variable"], record["check"])


def write_record(pseudonyms: Pseudonyms, data: Path) -> None:
    """Say in a data folder that its user ids are pseudonyms."""
    write_json(pseudonyms.record(), data / FILE)


def require_pseudonyms(frame: pl.DataFrame, origin: str) -> None:
    """Refuse user ids that are no pseudonyms.

    Raises:
        DataError: there is one; it is not repeated in the message.
    """
    strange = sum(_FORM.match(user) is None for user in frame[USER].drop_nulls().unique())
    if strange:
        raise DataError(
            f"{origin} holds {strange} user id(s) that are no pseudonyms, though 'ingest.pseudonyms' asks for them: a "
            f"service took them whose bundle has none; begin with an empty store."
        )
