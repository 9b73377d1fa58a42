import numpy as np
import pytest
import torch

from recloop.data.sequences import Contexts
from recloop.nn.histories import Bags, BagStore, HistoryEncoder, bag_sums, person_vectors, person_vectors_without_each

CPU = torch.device("cpu")
ITEMS = torch.tensor([[1.0, 0.0, 2.0], [0.0, 3.0, 1.0], [5.0, 5.0, 5.0], [-1.0, 2.0, 0.0]])
STORE = BagStore(Contexts.from_lists([[0, 3, 1, 3], [], [2], [1, 0]]).matrix(4))


def encoder(power: float) -> HistoryEncoder:
    made = HistoryEncoder(4, 3, power)
    with torch.no_grad():
        made.items.weight.copy_(ITEMS)
    return made


def test_a_store_keeps_histories_as_sets() -> None:
    bags = STORE.all(CPU)
    assert (len(STORE), len(bags)) == (4, 4)
    assert bags.offsets.tolist() == [0, 3, 3, 4, 6]
    assert bags.rows.tolist() == [0, 0, 0, 2, 3, 3]
    assert bags.items.tolist() == [0, 1, 3, 2, 0, 1]
    assert bags.lengths.tolist() == [3, 0, 1, 2]


def test_batches_hold_the_people_asked_for_in_their_order() -> None:
    bags = STORE.batch(np.array([3, 1, 0]), CPU)
    assert bags.offsets.tolist() == [0, 2, 2, 5]
    assert bags.rows.tolist() == [0, 0, 2, 2, 2]
    assert bags.items.tolist() == [0, 1, 0, 1, 3]
    assert len(STORE.batch(np.array([], dtype=np.int64), CPU)) == 0


@pytest.mark.parametrize(("power", "scales"), [(0.0, [1, 1]), (1.0, [1 / 3, 1 / 2]), (0.5, [3**-0.5, 2**-0.5])])
def test_people_are_scaled_sums(power: float, scales: list[float]) -> None:
    wanted = torch.tensor(
        [[0.0, 5 * scales[0], 3 * scales[0]], [0, 0, 0], [5, 5, 5], [scales[1], 3 * scales[1], 3 * scales[1]]]
    )
    torch.testing.assert_close(encoder(power)(STORE.all(CPU)), wanted)
    torch.testing.assert_close(person_vectors(ITEMS, STORE.all(CPU), power), wanted)


def test_each_event_is_left_out_in_turn() -> None:
    scaled = torch.tensor([[-1.0, 5, 1], [0, 2, 2], [1, 3, 3], [0, 0, 0], [0, 3, 1], [1, 0, 2]])
    scaled[:3] *= 2**-0.5
    torch.testing.assert_close(encoder(0.5).without_each(STORE.all(CPU)), scaled)
    torch.testing.assert_close(person_vectors_without_each(ITEMS, STORE.all(CPU), 0.5), scaled)


def test_leaving_out_is_what_the_shorter_history_gives() -> None:
    one = encoder(0.7)
    shorter = BagStore(Contexts.from_lists([[1, 3], [0, 3], [0, 1]]).matrix(4)).all(CPU)
    torch.testing.assert_close(one.without_each(STORE.batch(np.array([0]), CPU)), one(shorter))


def test_nobody_and_no_events_give_zeros() -> None:
    empty = BagStore(Contexts.from_lists([[], []]).matrix(4)).all(CPU)
    assert encoder(0.5)(empty).tolist() == [[0, 0, 0], [0, 0, 0]]
    assert encoder(0.5).without_each(empty).shape == (0, 3)
    nobody = Bags(
        offsets=torch.zeros(1, dtype=torch.int64),
        rows=torch.zeros(0, dtype=torch.int64),
        items=torch.zeros(0, dtype=torch.int64),
    )
    assert encoder(0.5)(nobody).shape == (0, 3)


def test_gradients_reach_the_items_that_were_taken() -> None:
    one = encoder(0.0)
    one(STORE.batch(np.array([0]), CPU)).sum().backward()
    assert one.items.weight.grad is not None
    assert one.items.weight.grad[:, 0].tolist() == [1, 1, 0, 1]


@pytest.mark.parametrize("weighted", [True, False])
def test_gradients_of_sums_are_those_of_torch(weighted: bool) -> None:  # noqa: FBT001 - a parameter of the test
    bags, generator = STORE.all(CPU), torch.Generator().manual_seed(0)
    weights = torch.rand(len(bags.items), generator=generator) if weighted else None
    vectors, slope = ITEMS.clone().requires_grad_(), torch.randn(4, 3, generator=generator)
    found = bag_sums(vectors, bags, weights)
    wanted = torch.nn.functional.embedding_bag(
        bags.items, vectors, bags.offsets, mode="sum", include_last_offset=True, per_sample_weights=weights
    )
    assert torch.equal(found, wanted)
    gradients = [torch.autograd.grad(sums, vectors, slope)[0] for sums in (found, wanted)]
    assert torch.equal(*gradients)


def test_sums_of_nothing_are_zero() -> None:
    nothing = STORE.batch(np.array([1, 1]), CPU)
    assert bag_sums(ITEMS, nothing).tolist() == [[0, 0, 0], [0, 0, 0]]
