"""Calls of many threads at the same time are run as one, and each gets its own result or error."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from shared.adapters import grouped_calls
from shared.adapters.grouped_calls import GroupedCalls
from shared.adapters.pauses import run


class Held:
    """A function whose first group waits until it is let go, so that the calls meanwhile gather."""

    def __init__(self, answer: Callable[[int], int | Exception] = lambda value: 10 * value) -> None:
        self.groups: list[list[int]] = []
        self.entered, self.go = threading.Event(), threading.Event()
        self._answer = answer
        self.calls = GroupedCalls(self.run)

    def run(self, values: Sequence[int]) -> list[int | Exception]:
        self.groups.append(list(values))
        self.entered.set()
        assert self.go.wait(10)
        return [self._answer(value) for value in values]

    def gathered(self, values: Sequence[int]) -> list[Future[int]]:
        """Call with 0, and with the values while that call is held; return the futures of all."""
        threads = ThreadPoolExecutor(len(values) + 1)
        first = threads.submit(run, self.calls(0))
        assert self.entered.wait(10)
        others = []
        for number, value in enumerate(values, 1):
            others.append(threads.submit(run, self.calls(value)))
            while len(self.calls._waiting) < number:  # it is about to be there: nothing holds it up
                pass
        self.go.set()
        threads.shutdown()
        return [first, *others]


def test_a_single_call_runs_in_its_own_thread() -> None:
    threads: list[int] = []

    def upper(values: Sequence[str]) -> list[str]:
        threads.append(threading.get_ident())
        return [value.upper() for value in values]

    assert run(GroupedCalls(upper)("a")) == "A"
    assert threads == [threading.get_ident()]


def test_calls_that_come_meanwhile_are_run_together_in_their_order() -> None:
    held = Held()
    assert [future.result() for future in held.gathered([1, 2, 3])] == [0, 10, 20, 30]
    assert held.groups == [[0], [1, 2, 3]]


def test_each_call_gets_its_own_error() -> None:
    held = Held(lambda value: ValueError(value) if value == 2 else value)
    first, one, two, three = held.gathered([1, 2, 3])
    assert (first.result(), one.result(), three.result()) == (0, 1, 3)
    with pytest.raises(ValueError, match="2"):
        two.result()


def test_an_error_of_the_group_reaches_all_and_the_next_group_runs() -> None:
    def answer(value: int) -> int:
        if value == 1:
            raise OSError("away")
        return value

    held = Held(answer)
    first, *others = held.gathered([1, 2])
    assert first.result() == 0
    for future in others:
        with pytest.raises(OSError, match="away"):
            future.result()
    assert run(held.calls(5)) == 5


def test_a_group_has_a_largest_size_and_the_rest_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grouped_calls, "LARGEST", 2)
    held = Held()
    assert [future.result() for future in held.gathered([1, 2, 3, 4, 5])] == [0, 10, 20, 30, 40, 50]
    assert held.groups == [[0], [1, 2], [3, 4], [5]]


def test_many_threads_lose_no_call() -> None:
    calls = GroupedCalls[int, int](list)
    with ThreadPoolExecutor(32) as threads:
        assert list(threads.map(lambda value: run(calls(value)), range(5000))) == list(range(5000))


def test_a_call_that_waits_leaves_its_thread_and_is_resumed_once() -> None:
    held, resumed = Held(), threading.Semaphore(0)
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(run, held.calls(0))
        assert held.entered.wait(10)
        waiting, late = held.calls(1), held.calls(2)
        waiting.send(None).start(resumed.release)  # back at once, although the first group runs
        pause = late.send(None)
        held.go.set()
        assert first.result(10) == 0
    assert resumed.acquire(timeout=10)
    with pytest.raises(StopIteration) as led:  # it is the first of its group, so that it leads
        waiting.send(None)
    assert led.value.value == 10
    assert not resumed.acquire(blocking=False)
    pause.start(resumed.release)  # it was woken before it began to wait
    assert resumed.acquire(blocking=False)
    with pytest.raises(StopIteration) as followed:
        late.send(None)
    assert followed.value.value == 20
    assert held.groups == [[0], [1, 2]]
