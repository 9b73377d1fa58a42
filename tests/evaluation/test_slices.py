import numpy as np
import pytest

from recloop.data.sequences import Contexts, Examples
from recloop.evaluation.questions import ask
from recloop.evaluation.slices import SLICES, Facts, activity_high, activity_low, cold_users, new_users, tail_items


def facts(
    *,
    users: list[int],
    stops: list[int],
    targets: list[list[int]],
    trained: list[int],
    popularity: list[int],
) -> Facts:
    lengths = [len(some) for some in targets]
    return Facts(
        examples=Examples(
            histories=Contexts.from_lists([[0] * 50] * len(trained)),
            users=np.array(users),
            stops=np.array(stops),
            offsets=np.cumsum([0, *lengths]),
            targets=np.array([item for some in targets for item in some]),
            values=np.ones(sum(lengths), dtype=np.float32),
        ),
        trained=np.array(trained),
        popularity=np.array(popularity),
    )


# Items by popularity: 1 (50), 0 (30), 3 (20), 2 (0). The first two make up 80 of 100 events: the head.
FACTS = facts(
    users=[0, 0, 1, 2, 3],
    stops=[3, 40, 5, 4, 9],
    targets=[[1], [3], [2], [0, 2, 3], [0, 2]],
    trained=[2, 5, 0, 0],
    popularity=[30, 50, 0, 20],
)


def test_cold_questions_have_fewer_than_five_events_before_them() -> None:
    assert cold_users(FACTS).tolist() == [True, False, False, True, False]


def test_new_users_have_no_training_event() -> None:
    assert new_users(FACTS).tolist() == [False, False, False, True, True]


def test_the_tail_is_what_lies_outside_the_items_of_most_events() -> None:
    assert FACTS.tail.tolist() == [False, False, True, True]


def test_tail_questions_have_mostly_tail_answers() -> None:
    assert tail_items(FACTS).tolist() == [False, True, True, True, False]


def test_ties_in_popularity_are_resolved_by_index() -> None:
    even = facts(users=[0], stops=[0], targets=[[0]], trained=[0], popularity=[10] * 10)
    assert even.tail.tolist() == [False] * 8 + [True] * 2


def test_without_training_events_everything_is_tail() -> None:
    assert facts(users=[0], stops=[0], targets=[[1]], trained=[0], popularity=[0, 0]).tail.tolist() == [True, True]


def test_activity_is_what_is_known_at_the_last_question() -> None:
    assert FACTS.activity.tolist() == [40, 5, 4, 9]
    # A third of four users is at most 5, two thirds at most 9.
    assert FACTS.terciles() == (5, 9)
    assert activity_low(FACTS).tolist() == [False, False, True, True, False]
    assert activity_high(FACTS).tolist() == [True, True, False, False, False]


def test_users_who_are_not_asked_do_not_count_for_terciles() -> None:
    some = facts(users=[1, 2, 3], stops=[1, 2, 3], targets=[[0]] * 3, trained=[0] * 9, popularity=[1])
    assert some.terciles() == (1, 2)


@pytest.mark.parametrize("name", SLICES)
def test_every_slice_has_a_value_for_each_question(name: str, many: tuple) -> None:
    questions = ask(*many, targets="successive")
    inside = SLICES[name](questions.facts)
    assert inside.dtype == bool
    assert inside.shape == (len(questions),)
    assert SLICES[name].__doc__
