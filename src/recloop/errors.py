"""One root for everything that a caller can get wrong.

The message of every error is one sentence: the thing, the rule it breaks, the remedy. Commands print it and exit with
status 2; the service answers with a 4xx. Our own bugs are `assert`s, never one of these.
"""


class RecloopError(ValueError):
    """Something that the caller gave cannot be used; the message says what, why, and what to do."""


class ConfigError(RecloopError):
    """A parameter is unknown, of the wrong type, or out of bounds."""


class SourceError(RecloopError):
    """A source of data cannot be read: unreachable, truncated, or with a wrong checksum."""


class DataError(RecloopError):
    """A table breaks a rule: a missing column, an unparsable date, a value out of bounds, too few rows."""


class FailedExpectationError(DataError):
    """A critical expectation about the data does not hold."""


class ModelError(RecloopError):
    """A model is unknown, lacks something it needs, or cannot be trained."""


class BundleError(RecloopError):
    """A bundle is missing, truncated, tampered with, or of a newer format."""


class StoreError(RecloopError):
    """The store of events and deployments cannot be reached or refuses a write."""


class RefusedValueError(StoreError):
    """The store works, but a value does not fit into it: trying again with the same value is of no use."""
