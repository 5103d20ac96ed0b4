"""What a tenant has used in a calendar month (UTC), by meter: the wires that have a quota or a bill count here."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from shared.container import Container


def add(container: Container, tenant: str, meter: str) -> int:
    """Count one more; how many there are in this month, with this one."""
    with container.database.write() as uow:
        return uow.usage.add(tenant, meter, name(container.now()))


def take(container: Container, tenant: str, meter: str, limit: int) -> int | None:
    """Count one more if there are less than `limit`; how many there are then, or None when all are used up.

    In one statement, so that requests at the same moment cannot pass the limit together.
    """
    with container.database.write() as uow:
        return uow.usage.take(tenant, meter, name(container.now()), limit)


def give_back(container: Container, tenant: str, meter: str) -> None:
    """Count one less: what was taken was not used."""
    with container.database.write() as uow:
        uow.usage.give_back(tenant, meter, name(container.now()))


def used(container: Container, tenant: str, meter: str) -> int:
    """How many there are in this month."""
    with container.database.read() as uow:
        return uow.usage.used(tenant, meter, name(container.now()))


def month(now: float) -> tuple[float, float]:
    """(start, end) of the month in which `now` lies, all in Unix seconds; the end is the start of the next one."""
    start = _first(datetime.fromtimestamp(now, UTC))
    return start.timestamp(), _first(start + timedelta(days=31)).timestamp()


def name(now: float) -> str:
    """The month in which `now` (Unix seconds) lies, such as `2026-11`."""
    return f"{datetime.fromtimestamp(now, UTC):%Y-%m}"


def _first(moment: datetime) -> datetime:
    return moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
