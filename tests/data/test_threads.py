"""Results come in order, from several threads, and little is read ahead of them."""

import itertools
import threading

import pytest

from pipelines.core.threads import AHEAD, mapped


@pytest.mark.parametrize("count", [0, 1, 2, 50])
def test_results_come_in_order_whoever_is_done_first(count):
    later = [threading.Event() for _ in range(count + 1)]

    def square(i):
        later[i].set()
        if i % 2:  # waits for the next one, unless that has not been begun
            later[i + 1].wait(0.01)
        return i * i

    assert list(mapped(square, range(count), 3)) == [(i, i * i) for i in range(count)]


def test_as_many_are_at_work_at_once_as_there_are_threads():
    both = threading.Barrier(2, timeout=30)  # breaks if one has to wait for the other

    def meet(i):
        return both.wait() if i else None

    assert len(list(mapped(meet, range(5), 2))) == 5


def test_the_first_thing_is_done_in_this_thread_alone():
    def where(_):
        return threading.current_thread() is threading.main_thread(), threading.active_count()

    before = threading.active_count()
    (_, first), *others = mapped(where, range(4), 2)
    assert first == (True, before) and not any(here for _, (here, _) in others)
    assert threading.active_count() == before


def test_things_are_not_read_far_ahead():
    read = itertools.count()
    results, last = mapped(lambda x: x, (next(read) for _ in itertools.count()), 3), -1
    for number, _ in itertools.islice(results, 100):
        last = number
    results.close()
    assert next(read) <= last + 1 + AHEAD * 3


def test_an_error_comes_in_its_place_and_drops_what_has_not_begun():
    begun = []

    def picky(i):
        begun.append(i)
        if i == 5:
            raise KeyError(i)
        return i

    results = mapped(picky, range(1000), 2)
    assert [next(results)[0] for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(KeyError, match="5"):
        next(results)
    assert max(begun) <= 5 + AHEAD * 2


def test_an_interruption_of_the_reader_ends_the_threads():
    before = threading.active_count()

    def things():
        yield from range(10)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(mapped(lambda x: x, things(), 2))
    assert threading.active_count() == before
