import math

import pytest
import torch

from recloop.nn.fusion import conditional_logit, reciprocal_ranks, standardised


def test_standardised_rows_have_mean_zero_and_deviation_one() -> None:
    found = standardised(torch.tensor([[1.0, 3.0, 5.0], [2.0, 2.0, 2.0]]))
    high = math.sqrt(1.5)
    torch.testing.assert_close(found, torch.tensor([[-high, 0, high], [0, 0, 0]], dtype=torch.float64))


def test_reciprocal_ranks_by_hand_ties_by_index() -> None:
    found = reciprocal_ranks(torch.tensor([[0.2, 0.7, 0.2, 0.9]]), 10.0)
    assert found[0].tolist() == [1 / 13, 1 / 12, 1 / 14, 1 / 11]


def test_learned_weights_stand_where_the_slope_is_zero() -> None:
    features = torch.tensor([[[1.0], [0.0], [9.0]]] * 4, dtype=torch.float64)
    allowed = torch.tensor([[True, True, False]] * 4)
    answers = torch.tensor([0, 0, 0, 1])
    shares = torch.tensor([1.0, 1.0, 1.0, 3.0], dtype=torch.float64)
    prior = torch.tensor([1.0], dtype=torch.float64)
    alike = torch.ones(4, dtype=torch.float64)
    weight = conditional_logit(features, allowed, answers, alike, prior=prior, ridge=1e-9)
    assert weight.item() == pytest.approx(math.log(3), rel=1e-4)
    assert conditional_logit(features, allowed, answers, shares, prior=prior, ridge=1e-9).item() == pytest.approx(
        0, abs=1e-4
    )
    assert conditional_logit(features, allowed, answers, alike, prior=prior, ridge=1e6).item() == pytest.approx(
        1, abs=1e-4
    )


def test_without_questions_the_weights_are_the_prior() -> None:
    prior = torch.tensor([1.0, 2.0], dtype=torch.float64)
    none = torch.zeros(0, dtype=torch.float64)
    found = conditional_logit(none.view(0, 0, 2), none.bool().view(0, 0), none.long(), none, prior=prior, ridge=1.0)
    assert found.tolist() == [1.0, 2.0]
