"""A limit on how long one may wait: what takes longer is left to itself, and the caller goes on."""

from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import BoundedSemaphore, Thread
from typing import TypeVar

T = TypeVar("T")


class TimeLimit:
    """Does things in threads of its own, which end with the process.

    What is not done in time goes on in its thread and its result is lost; while every thread is taken by such things,
    nothing else is begun.

    Args:
        seconds: how long a call waits.
        threads: how many things are done at once.
    """

    def __init__(self, seconds: float, threads: int) -> None:
        self._seconds, self._threads = seconds, threads
        self._free = BoundedSemaphore(threads)
        self._waiting: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._started = BoundedSemaphore(threads)

    def __call__(self, do: Callable[[], T]) -> T:
        """What `do` returns.

        Raises:
            TimeoutError: it took too long, or could not be begun.
            Exception: what `do` raised.
        """
        if not self._free.acquire(blocking=False):
            raise TimeoutError(f"nothing was begun: {self._threads} earlier calls have not ended")
        if self._started.acquire(blocking=False):
            Thread(target=self._run, name="limited", daemon=True).start()
        done: Future[T] = Future()

        def work() -> None:
            try:
                result = do()
            except BaseException as error:  # noqa: BLE001 - it is the caller's
                self._free.release()
                done.set_exception(error)
            else:
                self._free.release()
                done.set_result(result)

        self._waiting.put(work)
        try:
            return done.result(self._seconds)
        except TimeoutError:
            if done.done():
                raise
            raise TimeoutError(f"no answer within {self._seconds:g} seconds") from None

    def _run(self) -> None:
        while True:
            self._waiting.get()()
