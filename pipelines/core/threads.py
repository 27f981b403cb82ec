"""A function of many things on all cores: results in order, and no more read than is at work."""

import collections
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Given = TypeVar("Given")
Found = TypeVar("Found")
AHEAD = 2  # things a thread that are at work or done and not yet asked for


def mapped(
    function: Callable[[Given], Found], things: Iterable[Given], threads: int | None = None
) -> Iterator[tuple[Given, Found]]:
    """Yield each thing and what the function makes of it, in their order.

    For functions that let go of Python's lock, as tokenizers do: theirs is the work of C++ or Rust.
    The first thing is done before any thread starts, for it may make what all need and is made
    once. An error of the function is raised where its result would be; then, and when nobody goes
    on reading, what has not begun is dropped.

    Args:
        function: of one thing, from any thread.
        things: read in this thread.
        threads: at work at once; None = a core each.
    """
    threads, source = threads or os.cpu_count() or 1, iter(things)
    for first in itertools.islice(source, 1):
        yield first, function(first)
    pool = ThreadPoolExecutor(threads)
    waiting: collections.deque[tuple[Given, Future[Found]]] = collections.deque()
    try:
        for thing in source:
            waiting.append((thing, pool.submit(function, thing)))
            if len(waiting) == AHEAD * threads:
                yield _done(waiting)
        while waiting:
            yield _done(waiting)
    finally:
        pool.shutdown(cancel_futures=True)


def _done(waiting: collections.deque[tuple[Given, Future[Found]]]) -> tuple[Given, Found]:
    thing, future = waiting.popleft()
    return thing, future.result()
