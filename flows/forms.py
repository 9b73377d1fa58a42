"""Choices in the forms of the Prefect UI.

A person must be able to leave a field as it is. Prefect shows an optional field as two tabs, one of them for nothing;
where there is a list of choices, a first choice that says so is easier to understand.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import get_args

from pydantic.fields import FieldInfo

AS_IS = "as in params.yaml"


def choices(name: str, values: Iterable[str], keep: str | None = AS_IS) -> type[StrEnum]:
    """An enumeration of `values`, after a member `KEEP` that reads `keep` and leaves things alone, unless `None`."""
    members = [("KEEP", keep)] if keep else []
    return StrEnum(name, [*members, *((value, value) for value in values)])


def chosen(choice: StrEnum) -> str | None:
    """The value that was chosen; `None` for `KEEP`."""
    return None if choice.name == "KEEP" else choice.value


def allowed(field: FieldInfo) -> tuple[str, ...]:
    """The values of a parameter whose type is a `Literal`."""
    return get_args(field.annotation)
