"""Ahead: items made by other threads while the ones before them are used."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

_THREADS = 2  # enough to keep a reader busy, on any disk; who reads has work for the cores, too

Given = TypeVar("Given")
Item = TypeVar("Item")


def in_input_order(make: Callable[[Given], Item], of: Iterable[Given], threads: int = _THREADS) -> Iterator[Item]:
    """`make` of each, in order; as many as there are threads are made meanwhile, and no more are in memory."""
    waiting = iter(of)
    with ThreadPoolExecutor(threads) as pool:
        coming: deque[Future[Item]] = deque(pool.submit(make, one) for one in islice(waiting, threads))
        try:
            while coming:
                item = coming.popleft().result()
                coming.extend(pool.submit(make, one) for one in islice(waiting, 1))
                yield item
        finally:
            for future in coming:
                future.cancel()


def prefetch(items: Iterator[Item]) -> Iterator[Item]:
    """The same items, each made in another thread while the one before is used."""
    end = object()
    with ThreadPoolExecutor(1) as pool:
        following: Future[Item | object] = pool.submit(next, items, end)
        while (item := following.result()) is not end:
            following = pool.submit(next, items, end)
            yield item  # type: ignore[misc]  # it is not the end
