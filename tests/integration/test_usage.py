"""Usage on SQLite and PostgreSQL: every picture is counted, and each month begins at zero."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from shared.adapters.database.unit_of_work import Database
from shared.container import Container
from shared.services import usage


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.fixture
def metered(container: Container, database: Database) -> Container:
    """The container in the middle of a month."""
    return at("2026-11-15T12:00", replace(container, database=database))


def at(moment: str, container: Container) -> Container:
    return replace(container, now=lambda: seconds(moment))


def test_a_meter_counts_from_one_and_says_how_many_there_are(metered: Container) -> None:
    assert usage.used(metered, "anna", "img") == 0
    assert [usage.add(metered, "anna", "img") for _ in range(3)] == [1, 2, 3]
    assert usage.used(metered, "anna", "img") == 3


def test_tenants_and_meters_are_counted_apart(metered: Container) -> None:
    usage.add(metered, "anna", "img")
    assert usage.add(metered, "bert", "img") == 1
    assert usage.add(metered, "anna", "einstein") == 1
    assert usage.used(metered, "anna", "img") == 1


def test_every_month_begins_with_nothing_and_the_last_one_is_kept(metered: Container) -> None:
    before, after = at("2026-11-30T23:59:59.999", metered), at("2026-12-01T00:00", metered)
    assert usage.add(before, "anna", "img") == 1
    assert usage.used(after, "anna", "img") == 0
    assert usage.add(after, "anna", "img") == 1
    assert usage.used(metered, "anna", "img") == 1


def test_many_at_once_are_all_counted_and_each_gets_a_number_of_its_own(metered: Container) -> None:
    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(lambda _: usage.add(metered, "anna", "img"), range(100)))
    assert sorted(numbers) == list(range(1, 101))
    assert usage.used(metered, "anna", "img") == 100


def test_what_is_taken_ends_at_the_limit_and_can_be_given_back(metered: Container) -> None:
    assert [usage.take(metered, "anna", "img", 2) for _ in range(4)] == [1, 2, None, None]
    usage.give_back(metered, "anna", "img")
    assert usage.take(metered, "anna", "img", 2) == 2
    assert usage.used(metered, "anna", "img") == 2


def test_many_at_once_cannot_take_more_than_there_is(metered: Container) -> None:
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda _: usage.take(metered, "anna", "img", 5), range(40)))
    assert sorted(number for number in taken if number) == [1, 2, 3, 4, 5]


def test_nothing_is_given_back_below_nothing(metered: Container) -> None:
    usage.give_back(metered, "anna", "img")
    assert usage.used(metered, "anna", "img") == 0


@pytest.mark.parametrize(
    ("now", "start", "end"),
    [
        ("2026-11-15T12:00", "2026-11-01", "2026-12-01"),
        ("2026-11-01T00:00", "2026-11-01", "2026-12-01"),
        ("2026-12-31T23:59:59.999", "2026-12-01", "2027-01-01"),
        ("2027-01-31T23:00", "2027-01-01", "2027-02-01"),
        ("2028-02-29T00:00", "2028-02-01", "2028-03-01"),
    ],
)
def test_a_month_is_one_of_the_calendar_in_utc(now: str, start: str, end: str) -> None:
    assert usage.month(seconds(now)) == (seconds(start), seconds(end))
