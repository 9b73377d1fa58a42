"""Requests that come at about the same time are scored together: one call of the model for all that wait."""

import asyncio
from queue import Empty, SimpleQueue
from threading import Thread
from typing import NamedTuple

from recloop.errors import RecloopError
from recloop.serving.asking import Ask, Recommendation
from recloop.serving.recommender import Recommender


class _Waiting(NamedTuple):
    recommender: Recommender
    ask: Ask
    future: "asyncio.Future[Recommendation]"
    loop: asyncio.AbstractEventLoop


class Batches:
    """One thread that scores; while it does, requests gather, and the next batch are those.

    So a lone request waits for nobody, and under load batches grow by themselves.

    Args:
        largest: requests in one batch.
    """

    def __init__(self, largest: int = 32) -> None:
        self._largest = largest
        self._queue: SimpleQueue[_Waiting | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name="batches", daemon=True)
        self._thread.start()

    async def recommend(self, recommender: Recommender, ask: Ask) -> Recommendation:
        """What `recommender` answers.

        Raises:
            Exception: what it raised.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Recommendation] = loop.create_future()
        self._queue.put(_Waiting(recommender, ask, future, loop))
        return await future

    def close(self) -> None:
        """End the thread; what waits is still answered."""
        self._queue.put(None)
        self._thread.join(5.0)

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            batch, last = [first], False
            while len(batch) < self._largest:
                try:
                    following = self._queue.get_nowait()
                except Empty:
                    break
                if following is None:
                    last = True
                    break
                batch.append(following)
            self._answer(batch)
            if last:
                return

    @staticmethod
    def _answer(batch: list[_Waiting]) -> None:
        groups: dict[int, list[_Waiting]] = {}
        for one in batch:
            groups.setdefault(id(one.recommender), []).append(one)
        for group in groups.values():
            answers = _answers(group[0].recommender, [one.ask for one in group])
            group[0].loop.call_soon_threadsafe(_deliver, group, answers)


def _answers(recommender: Recommender, asks: list[Ask]) -> list[Recommendation | Exception]:
    """An answer or what went wrong, for each; one that breaks the model does not spoil the others."""
    try:
        found = recommender.prepare(asks)
    except Exception as error:  # noqa: BLE001 - it is the asker's
        if len(asks) == 1:
            return [error]
        return [answer for ask in asks for answer in _answers(recommender, [ask])]
    answers: list[Recommendation | Exception] = []
    for ready, ask in zip(found, asks, strict=True):
        try:
            answers.append(ready if isinstance(ready, RecloopError) else recommender.slate(ready, ask))
        except Exception as error:  # noqa: BLE001 - it is the asker's
            answers.append(error)
    return answers


def _deliver(group: list[_Waiting], answers: list[Recommendation | Exception]) -> None:
    """In the loop's own thread."""
    for one, answer in zip(group, answers, strict=True):
        if one.future.done():
            continue
        if isinstance(answer, Exception):
            one.future.set_exception(answer)
        else:
            one.future.set_result(answer)
