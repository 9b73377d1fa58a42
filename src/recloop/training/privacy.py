"""Differentially private training: the noise that a budget asks for, and what a training has cost.

The unit is the person: whatever one person did, whoever sees the trained weights learns hardly more than if nothing of
theirs had been in the data. With neighbours that differ by one person, for any set S of weights,
``P(weights in S) <= exp(epsilon) P'(weights in S) + delta`` (Dwork and Roth, "The algorithmic foundations of
differential privacy", 2014). Steps are those of `nn.private.Mechanism`; Opacus keeps the account (Yousefpour et al.,
"Opacus: user-friendly differential privacy library in PyTorch", 2021).
"""

import importlib
import math
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from typing import Any

from recloop.errors import ModelError
from recloop.models.neural import NeuralModel
from recloop.nn.private import Mechanism, secret_generator
from recloop.training.config import Accountant, PrivacyConfig

UNIT = "user"


def mechanism(config: PrivacyConfig, model: NeuralModel, passes: int) -> Mechanism:
    """The steps with which so many passes of `model`, which has begun, stay within the budget.

    A step draws `batch_size` people on average, and a pass has as many steps as draw each person once on average.

    Raises:
        ModelError: Opacus is not installed, there are fewer than two people, or no noise is enough for the budget.
    """
    people, batch = model.n_people, model.config.batch_size
    if people < 2:
        raise ModelError(
            f"{model.name()} has {people} people to learn from, but nobody can be hidden among fewer than 2; give more "
            "data or set train.privacy to null."
        )
    rate, steps = min(1.0, batch / people), math.ceil(people / batch)
    noise = _noise(config.accountant, config.epsilon, _delta(config, people), rate, steps * passes)
    if noise is None:
        raise ModelError(
            f"No noise gives {model.name()} an epsilon of {config.epsilon:g} in {passes} passes; raise "
            f"train.privacy.epsilon or lower train.{model.name()}.epochs."
        )
    return Mechanism(
        noise_multiplier=noise,
        max_grad_norm=config.max_grad_norm,
        sample_rate=rate,
        steps=steps,
        draws=secret_generator(model.device),
    )


def record(config: PrivacyConfig, n_people: int, how: Mechanism, steps: int) -> dict[str, Any]:
    """What `steps` steps have cost, for the manifest: `unit`, `epsilon`, `delta`, and all that they follow from."""
    delta = _delta(config, n_people)
    return {
        "unit": UNIT,
        "epsilon": epsilon(config.accountant, how.noise_multiplier, how.sample_rate, steps, delta),
        "delta": delta,
        "noise_multiplier": how.noise_multiplier,
        "max_grad_norm": how.max_grad_norm,
        "sample_rate": how.sample_rate,
        "steps": steps,
        "people": n_people,
        "accountant": config.accountant,
    }


@cache
def _noise(accountant: Accountant, budget: float, delta: float, rate: float, steps: int) -> float | None:
    """The least noise multiplier that keeps the budget; `None` if there is none. Takes seconds, so it is kept."""
    with _opacus("accountants.utils") as utils:
        try:
            return float(
                utils.get_noise_multiplier(
                    target_epsilon=budget, target_delta=delta, sample_rate=rate, steps=steps, accountant=accountant
                )
            )
        except ValueError:
            return None


@cache
def epsilon(accountant: Accountant, noise_multiplier: float, sample_rate: float, steps: int, delta: float) -> float:
    """What so many steps cost at this `delta`, 0 for none.

    Raises:
        ModelError: Opacus is not installed.
    """
    if not steps:
        return 0.0
    with _opacus("accountants") as accountants:
        account = accountants.create_accountant(accountant)
        account.history = [(noise_multiplier, sample_rate, steps)]
        return float(account.get_epsilon(delta=delta))


def _delta(config: PrivacyConfig, n_people: int) -> float:
    return config.delta if config.delta is not None else n_people**-1.1


@contextmanager
def _opacus(part: str) -> Generator[Any]:
    """A module of Opacus, which takes seconds to import; its hints at tighter bounds are not for our callers."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Optimal order is the")
        try:
            found = importlib.import_module(f"opacus.{part}")
        except ModuleNotFoundError:
            raise ModelError(
                "train.privacy needs the package opacus, which is not installed; run: pip install 'recloop[privacy]'."
            ) from None
        yield found
