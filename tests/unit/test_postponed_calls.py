"""Postponed calls: values of some seconds are passed on together, later again if that fails, and at the end."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from shared import errors
from shared.adapters import postponed_calls
from shared.adapters.postponed_calls import PostponedCalls


class Receiver:
    """What is passed on; `arrived` is released at each call."""

    def __init__(self, failures: int = 0) -> None:
        self.groups: list[list[int]] = []
        self.arrived = threading.Semaphore(0)
        self._failures = failures

    def __call__(self, values: Sequence[int]) -> None:
        if self._failures:
            self._failures -= 1
            raise errors.Unavailable("The database is away.")
        self.groups.append(list(values))
        self.arrived.release()


def test_values_are_passed_on_together_by_a_thread_of_their_own() -> None:
    receiver = Receiver()
    calls = PostponedCalls(receiver, after=0.05)
    for value in range(3):
        calls(value)
    assert receiver.arrived.acquire(timeout=20)
    calls(3)
    assert receiver.arrived.acquire(timeout=20)
    assert receiver.groups == [[0, 1, 2], [3]]


def test_what_fails_is_passed_on_later_in_its_order() -> None:
    receiver = Receiver(failures=2)
    calls = PostponedCalls(receiver, after=0.01)
    calls(1)
    assert receiver.arrived.acquire(timeout=20)
    assert receiver.groups == [[1]]


def test_the_end_of_a_process_passes_on_what_is_left_and_starts_no_thread() -> None:
    receiver = Receiver()
    calls = PostponedCalls(receiver, after=3600)
    calls(1)
    calls.close()
    assert receiver.groups == [[1]]
    before = threading.active_count()
    calls(2)
    assert threading.active_count() == before


def test_there_is_a_limit_to_what_is_kept_while_it_cannot_be_passed_on() -> None:
    receiver = Receiver()
    calls = PostponedCalls(receiver, after=3600)
    for value in range(postponed_calls.MOST + 5):
        calls(value)
    calls.close()
    assert len(receiver.groups[0]) == postponed_calls.MOST
