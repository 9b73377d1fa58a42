import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from recloop.serving.limit import TimeLimit


def fail() -> int:
    raise KeyError("its own")


def test_what_is_done_in_time_is_given_back_and_what_is_raised_is_raised():
    limit = TimeLimit(20, 2)
    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(lambda number: limit(lambda: number * number), range(50))) == [n * n for n in range(50)]
    with pytest.raises(KeyError, match="its own"):
        limit(fail)
    assert limit(lambda: 3) == 3


def test_what_takes_too_long_is_left_and_takes_its_thread():
    limit, go_on, ended = TimeLimit(0.05, 2), Event(), Event()

    def hang() -> None:
        assert go_on.wait(20)
        ended.set()

    with pytest.raises(TimeoutError, match=r"no answer within 0\.05 seconds"):
        limit(hang)
    assert limit(lambda: 1) == 1, "one thread is left"
    with pytest.raises(TimeoutError):
        limit(hang)
    with pytest.raises(TimeoutError, match="nothing was begun: 2 earlier calls have not ended"):
        limit(lambda: 1)
    go_on.set()
    assert ended.wait(20)
    begun = time.monotonic()
    while not works(limit):
        assert time.monotonic() < begun + 20, "the threads do not become free"


def works(limit: TimeLimit) -> bool:
    try:
        return limit(lambda: True)
    except TimeoutError:
        return False
