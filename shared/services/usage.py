"""Usage counts each tenant's units per meter and calendar month (UTC), for the wires that have a quota or a bill."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from shared.container import Container


def add(container: Container, tenant: str, meter: str) -> int:
    """Add 1 to the meter; return this month's count, including the added unit."""
    with container.database.write() as uow:
        return uow.usage.add(tenant, meter, name(container.now()))


def take(container: Container, tenant: str, meter: str, limit: int) -> int | None:
    """Add 1 to the meter if its count is below `limit`; return the new count, or None when the limit is reached.

    A single statement does both, so that concurrent requests cannot exceed the limit together.
    """
    with container.database.write() as uow:
        return uow.usage.take(tenant, meter, name(container.now()), limit)


def give_back(container: Container, tenant: str, meter: str) -> None:
    """Subtract 1 from the meter, because the unit that was taken was not used."""
    with container.database.write() as uow:
        uow.usage.give_back(tenant, meter, name(container.now()))


def used(container: Container, tenant: str, meter: str) -> int:
    """Return this month's count of the meter."""
    with container.database.read() as uow:
        return uow.usage.used(tenant, meter, name(container.now()))


def month(now: float) -> tuple[float, float]:
    """Return (start, end) of the month that contains `now`, all in Unix seconds; the end is the next month's start."""
    start = _first(datetime.fromtimestamp(now, UTC))
    return start.timestamp(), _first(start + timedelta(days=31)).timestamp()


def name(now: float) -> str:
    """Return the month that contains `now` (Unix seconds), such as `2026-11`."""
    return f"{datetime.fromtimestamp(now, UTC):%Y-%m}"


def _first(moment: datetime) -> datetime:
    return moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
