"""Round-robin over tenants: the first of each, then the second of each, and so on."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from shared.domain.fair_order import fair_order


@dataclass(frozen=True)
class Waiting:
    """A waiting thing with an id, which sorts by time."""

    id: str
    tenant: str


def order(waiting: str, served: dict[str, float] | None = None) -> str:
    """Return the ids in their order; `a1 b2` are two things, of the tenants a and b."""
    things = [Waiting(word[1:], word[0]) for word in waiting.split()]
    return " ".join(f"{thing.tenant}{thing.id}" for thing in fair_order(things, served or {}))


@pytest.mark.parametrize(
    ("waiting", "expected"),
    [
        ("", ""),
        ("a1 a2 a3", "a1 a2 a3"),
        ("a3 a1 a2", "a1 a2 a3"),
        ("a1 a2 a3 b4", "a1 b4 a2 a3"),
        ("a1 a2 a3 b4 b5 c6", "a1 b4 c6 a2 b5 a3"),
        ("c6 b5 a3 b4 a2 a1", "a1 b4 c6 a2 b5 a3"),
    ],
)
def test_no_tenant_has_a_second_turn_before_each_has_had_a_first(waiting: str, expected: str) -> None:
    assert order(waiting) == expected


def test_within_a_round_the_tenant_that_was_served_longest_ago_comes_first() -> None:
    assert order("a1 a2 b3 b4 c5", {"a": 20.0, "b": 10.0}) == "c5 b3 a1 b4 a2"


def test_a_tenant_that_was_never_served_comes_before_one_that_was() -> None:
    assert order("a1 b2", {"a": 0.5}) == "b2 a1"
