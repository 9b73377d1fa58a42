"""What a request or a rule may ask of the attributes of items."""

from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from recloop.config import Config

MAX_VALUES = 100
MAX_FILTERS = 20

Value = Annotated[str, Field(max_length=256)] | bool | int | float


class Filter(Config):
    """What an attribute of an item must be. An item without the attribute passes `none_of` alone.

    Attributes:
        any_of: one of these, or where the attribute is a list, one of its entries.
        none_of: none of these.
        at_least, at_most: bounds of a number.
    """

    any_of: list[Value] | None = Field(default=None, max_length=MAX_VALUES)
    none_of: list[Value] | None = Field(default=None, max_length=MAX_VALUES)
    at_least: float | None = None
    at_most: float | None = None

    @model_validator(mode="before")
    @classmethod
    def _short(cls, given: Any) -> Any:
        return {"any_of": given} if isinstance(given, list) else given

    @model_validator(mode="after")
    def _asks_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("it asks for nothing; give any_of, none_of, at_least or at_most")
        return self


Filters = Annotated[dict[str, Filter], Field(max_length=MAX_FILTERS)]
