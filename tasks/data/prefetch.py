"""Compute items in other threads while the items before them are used."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

_THREADS = 2  # enough to keep the consumer busy on any disk; the consumer needs cores, too

Given = TypeVar("Given")
Item = TypeVar("Item")


def in_input_order(make: Callable[[Given], Item], of: Iterable[Given]) -> Iterator[Item]:
    """Yield the result of `make` for each item, in input order, computed by other threads.

    At most `_THREADS` items are computed ahead of the item in use.
    """
    waiting = iter(of)
    with ThreadPoolExecutor(_THREADS) as pool:
        coming: deque[Future[Item]] = deque(pool.submit(make, one) for one in islice(waiting, _THREADS))
        try:
            while coming:
                item = coming.popleft().result()
                coming.extend(pool.submit(make, one) for one in islice(waiting, 1))
                yield item
        finally:
            for future in coming:
                future.cancel()


def prefetch(items: Iterator[Item]) -> Iterator[Item]:
    """Yield the same items, each computed in another thread while the previous one is used."""
    end = object()
    with ThreadPoolExecutor(1) as pool:
        following: Future[Item | object] = pool.submit(next, items, end)
        while (item := following.result()) is not end:
            following = pool.submit(next, items, end)
            yield item  # type: ignore[misc]  # it is not the sentinel
