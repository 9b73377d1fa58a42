import numpy as np
import polars as pl

from recloop.data.knowledge import Knowledge
from recloop.data.vocabulary import Vocabulary

ITEMS = Vocabulary(["7", "b", "c"])


def graph(*triples: tuple[str, str, str]) -> Knowledge:
    return Knowledge.from_frame(
        pl.DataFrame(triples, schema=["head", "relation", "tail"], orient="row", strict=True).cast(pl.String), ITEMS
    )


def test_items_come_first_and_all_else_after_them() -> None:
    found = graph(("item:c", "genre", "war"), ("7", "by", "ann"), ("ann", "knows", "item:b"), ("war", "by", "zoe"))
    assert (found.n_items, found.n_entities, found.n_relations, len(found)) == (3, 6, 3, 4)
    assert found.heads.tolist() == [2, 0, 3, 4]
    assert found.relations.tolist() == [1, 0, 2, 0]
    assert found.tails.tolist() == [4, 3, 1, 5]
    assert (found.heads.dtype, found.relations.dtype, found.tails.dtype) == (np.int64,) * 3


def test_items_outside_the_catalogue_are_entities_like_others() -> None:
    found = graph(("item:x", "genre", "war"), ("x", "genre", "item:7"))
    assert found.n_entities == 5
    assert found.heads.tolist() == [4, 4]
    assert found.tails.tolist() == [3, 0]


def test_an_item_and_an_entity_of_one_name_are_one() -> None:
    assert graph(("7", "is", "item:7")).tails.tolist() == [0]


def test_a_graph_says_whether_it_is_about_items() -> None:
    assert graph(("item:b", "genre", "war")).about_items()
    assert graph(("war", "of", "item:b")).about_items()
    assert not graph(("war", "of", "worlds")).about_items()


def test_a_graph_without_triples_has_items_only() -> None:
    found = graph()
    assert (len(found), found.n_entities, found.n_relations) == (0, 3, 0)
    assert not found.about_items()
