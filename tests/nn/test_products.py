import pytest
import torch

from recloop.nn import products
from recloop.nn.products import inner_products


def test_products_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, items = torch.tensor([[1.0, 2.0], [0.0, -1.0]]), torch.tensor([[1.0, 0.0], [3.0, 4.0], [0.5, 0.5]])
    expected = torch.tensor([[1.0, 11.0, 1.5], [0.0, -4.0, -0.5]])
    assert torch.equal(inner_products(rows, items), expected)
    monkeypatch.setattr(products, "_CHUNK", 2)
    assert torch.equal(inner_products(rows, items), expected)


def test_one_row_scores_as_in_a_batch() -> None:
    generator = torch.Generator().manual_seed(0)
    rows, items = torch.randn(64, 48, generator=generator), torch.randn(501, 48, generator=generator)
    together = inner_products(rows, items)
    alone = torch.cat([inner_products(row[None], items) for row in rows])
    assert torch.equal(together, alone)
    torch.testing.assert_close(together, rows @ items.T)
