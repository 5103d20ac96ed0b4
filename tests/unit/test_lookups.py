"""What requests keep in memory is as new as the last change that this process has made or heard of."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from shared.adapters import lookups
from shared.adapters.lookups import SECONDS, Lookups


class Clock:
    """A clock that stands still until it is set."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def kept(clock: Clock) -> Lookups:
    return Lookups(clock)


def counting() -> Iterator[int]:
    yield from range(100)


def test_a_caller_that_can_do_with_an_older_one_says_so(kept: Lookups, clock: Clock) -> None:
    numbers = counting()
    for seconds, found in ((0.0, 0), (SECONDS, 0), (60.0, 1)):
        clock.now += seconds
        assert kept.get("key", lambda: next(numbers), 60.0) == found


def test_a_second_look_within_the_time_is_saved(kept: Lookups, clock: Clock) -> None:
    numbers = counting()
    assert [kept.get("key", lambda: next(numbers)) for _ in range(2)] == [0, 0]
    clock.now += SECONDS
    assert kept.get("key", lambda: next(numbers)) == 1
    assert kept.get("other", lambda: next(numbers)) == 2


def test_what_is_cleared_is_looked_up_again(kept: Lookups) -> None:
    numbers = counting()
    kept.get("key", lambda: next(numbers))
    kept.clear()
    assert kept.get("key", lambda: next(numbers)) == 1


def test_what_was_read_before_a_change_is_not_kept_after_it(kept: Lookups) -> None:
    def look() -> str:
        kept.clear()  # the row changes while it is read
        return "old"

    assert kept.get("key", look) == "old"
    assert kept.get("key", lambda: "new") == "new"


class SlowLook:
    """A look that ends when it is let go, and counts how often it has begun."""

    def __init__(self) -> None:
        self.begun, self.may_end = threading.Semaphore(0), threading.Semaphore(0)
        self.count = 0

    def __call__(self) -> int:
        self.count += 1
        number = self.count
        self.begun.release()
        assert self.may_end.acquire(timeout=10)
        return number


def test_callers_that_miss_the_same_at_the_same_moment_share_one_look() -> None:
    kept, look = Lookups(), SlowLook()
    with ThreadPoolExecutor(8) as threads:
        found = [threads.submit(kept.get, "key", look) for _ in range(8)]
        assert look.begun.acquire(timeout=10)
        look.may_end.release(8)
        assert [each.result(10) for each in found] == [1] * 8
    assert look.count == 1


def test_who_asks_after_a_change_does_not_share_a_look_that_began_before_it() -> None:
    kept, old, new = Lookups(), SlowLook(), SlowLook()
    new.count = 1
    new.may_end.release()
    with ThreadPoolExecutor(2) as threads:
        before = threads.submit(kept.get, "key", old)
        assert old.begun.acquire(timeout=10)
        kept.clear()
        assert threads.submit(kept.get, "key", new).result(10) == 2
        old.may_end.release()
        assert before.result(10) == 1
    assert kept.get("key", old) == 2, "the older answer has not taken the place of the newer one"


def test_each_caller_gets_an_error_of_its_own() -> None:
    kept, begun, may_fail = Lookups(), threading.Semaphore(0), threading.Event()

    def fail() -> int:
        begun.release()
        assert may_fail.wait(10)
        raise ZeroDivisionError

    with ThreadPoolExecutor(2) as threads:
        calls = [threads.submit(kept.get, "key", fail) for _ in range(2)]
        assert begun.acquire(timeout=10)
        may_fail.set()
        first, second = (call.exception(10) for call in calls)
    assert isinstance(first, ZeroDivisionError)
    assert isinstance(second, ZeroDivisionError)
    assert first is not second
    assert kept.get("key", lambda: 1) == 1, "a look that has failed holds up no other"


def test_an_error_is_not_kept(kept: Lookups) -> None:
    with pytest.raises(ZeroDivisionError):
        kept.get("key", lambda: 1 // 0)
    assert kept.get("key", lambda: 1) == 1


def test_the_memory_is_bounded(kept: Lookups, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookups, "MOST", 3)
    for number in range(10):
        kept.get(number, lambda: 0)
        assert len(kept._kept) <= 3
