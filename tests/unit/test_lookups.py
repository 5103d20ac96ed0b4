"""What requests keep in memory is as new as the last change that this process has made or heard of."""

from __future__ import annotations

from collections.abc import Iterator

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


def test_an_error_is_not_kept(kept: Lookups) -> None:
    with pytest.raises(ZeroDivisionError):
        kept.get("key", lambda: 1 // 0)
    assert kept.get("key", lambda: 1) == 1


def test_the_memory_is_bounded(kept: Lookups, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookups, "MOST", 3)
    for number in range(10):
        kept.get(number, lambda: 0)
        assert len(kept._kept) <= 3
