import numpy as np
import pytest

from recloop.evaluation.off_policy import OffPolicyConfig, RefusedError, SlateLog, cascade, item_position

LOOSE = OffPolicyConfig(min_effective=2, max_unseen=0.9)
# Weights (0.5, 2, 1), (1.5, 0.5, 2), (1, 1, 0.5).
LOG = SlateLog(
    rewards=np.array([[1.0, 0.0, 2.0], [0.0, 4.0, 1.0], [1.0, 1.0, 0.0]]),
    propensities=np.array([[0.5, 0.25, 0.5], [0.5, 0.5, 0.25], [0.25, 0.5, 0.5]]),
    targets=np.array([[0.25, 0.5, 0.5], [0.75, 0.25, 0.5], [0.25, 0.5, 0.25]]),
)


def test_item_position_by_hand() -> None:
    found = item_position(LOG, LOOSE)
    assert found.value == pytest.approx(((0.5 + 2) + (2 + 2) + (1 + 1)) / 3)
    assert found.overlap.effective == pytest.approx(3.5**2 / (4 + 0.25 + 1))
    assert found.overlap.largest_weight == 2
    assert found.overlap.mean_weight.value == pytest.approx(3.5 / 3)
    assert found.overlap.missing is None


def test_cascade_by_hand() -> None:
    # Products (0.5, 1, 1), (1.5, 0.75, 1.5), (1, 1, 0.5).
    found = cascade(LOG, LOOSE)
    assert found.method == "cascade"
    assert found.value == pytest.approx(((0.5 + 2) + (3 + 1.5) + (1 + 1)) / 3)
    assert found.overlap.effective == pytest.approx(3**2 / (1 + 2.25 + 0.25))
    assert found.overlap.largest_weight == 1.5


def many(weights: list[list[float]], missing: list[float] | None = None) -> SlateLog:
    """Slates of these weights, 200 times each, the first of them with a reward everywhere."""
    shown = np.tile(np.array(weights), (200, 1))
    rewards = np.zeros_like(shown)
    rewards[:: len(weights)] = 1
    return SlateLog(
        rewards=rewards,
        propensities=np.full_like(shown, 0.1),
        targets=0.1 * shown,
        missing=None if missing is None else np.tile(missing, (len(shown), 1)),
    )


def test_missing_probability_adds_up_down_the_cascade() -> None:
    log = many([[0.9, 0.8], [0.9, 1.0]], missing=[0.1, 0.1])
    apart, joined = (method(log, OffPolicyConfig(max_unseen=0.5)).overlap for method in (item_position, cascade))
    assert apart.missing == pytest.approx(0.1)
    # The first position loses 0.1, the second 0.1 of the 0.9 that are left.
    assert joined.missing == pytest.approx(0.1 + 0.9 * 0.1)
    assert apart.mean_weight.value == joined.mean_weight.value == pytest.approx(1)


def test_each_position_must_keep_the_floors() -> None:
    with pytest.raises(RefusedError, match=r"The weights of the item_position estimate have mean 0\.8000") as refused:
        item_position(many([[1.0, 0.7], [1.0, 0.9]]))
    assert refused.value.floor == "trust_level"
    with pytest.raises(RefusedError, match=r"The cascade estimate leaves out 0\.0600"):
        cascade(many([[0.94, 1.0], [0.94, 1.0]], missing=[0.06, 0.0]))


def test_short_slates_are_filled_up() -> None:
    long = many([[0.5, 1.0], [1.5, 1.0]])
    filled = SlateLog(
        **{
            name: np.concatenate([getattr(long, name), np.full((400, 1), value)], axis=1)
            for name, value in {"rewards": 0.0, "propensities": 1.0, "targets": 1.0}.items()
        }
    )
    for method in (item_position, cascade):
        assert method(filled).value == pytest.approx(method(long).value)
        assert method(filled).low == pytest.approx(method(long).low)


def test_people_are_the_units() -> None:
    log = many([[0.5, 1.5], [1.5, 0.5]])
    known = SlateLog(
        rewards=log.rewards,
        propensities=log.propensities,
        targets=log.targets,
        clusters=np.arange(400) // 4 * 2 + np.arange(400) % 2,
    )
    found = item_position(known)
    assert found.overlap.units == 200
    # Weights of the people at the first position: 1 and 3, alternately.
    assert found.overlap.effective == pytest.approx(400**2 / (100 * (1 + 9)))
