"""Where to look for a parameter's best value; declared beside the parameters themselves."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Real:
    """Real numbers from `low` to `high`, both included; drawn by their logarithm if `log`."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True)
class Whole:
    """Whole numbers from `low` to `high`, both included; drawn by their logarithm if `log`."""

    low: int
    high: int
    log: bool = False


@dataclass(frozen=True)
class Choice:
    """One of a few values."""

    options: tuple[str | int | float | bool, ...]


Space = Real | Whole | Choice
