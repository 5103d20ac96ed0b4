"""Use-cases of the bytes that a tenant keeps: whether there is room for more, and how the count stays right.

Counted are the pictures of jobs with their heat maps, stored images, seen pictures, datasets with archives that wait to
be loaded, and weights; not what can be made again: features, checkpoints, conversions.
"""

from __future__ import annotations

import logging

from shared import errors
from shared.container import Container
from shared.domain import lock_names
from shared.domain.sizes import in_units
from shared.services import tenant_limits

FOLDED, FOLDED_AT_ONCE = 100, 5000
"""Rows of a tenant that may stay, and that are replaced in one commit."""
COUNT_EVERY = 86_400
"""Seconds after which everything is counted anew."""
log = logging.getLogger(__name__)


def used(container: Container, tenant: str) -> int:
    """Return the bytes that a tenant keeps."""
    with container.database.read() as uow:
        return uow.kept_bytes.of(tenant)


def room(container: Container, tenant: str) -> int | None:
    """Return how many more bytes a tenant may keep, negative if its limit was lowered; None if it has no limit."""
    most = tenant_limits.in_effect(container, tenant).max_bytes
    return None if most is None else most - used(container, tenant)


def check(container: Container, tenant: str, more: int) -> None:
    """Raise QuotaExceeded if the tenant may not keep so many more bytes."""
    most = tenant_limits.in_effect(container, tenant).max_bytes
    if most is None:
        return
    kept = used(container, tenant)
    if kept + more > most:
        raise errors.QuotaExceeded(
            f"You keep {in_units(kept)}, and {in_units(more)} more would pass your limit of {in_units(most)}. Delete "
            "jobs, stored images, seen pictures, datasets or models that you no longer need, or have the operator "
            "raise your max_bytes."
        )


def fits(container: Container, tenant: str, left: int | None, size: int) -> None:
    """Raise QuotaExceeded if `size` bytes are more than `left`, which is what `room` has returned."""
    if left is not None and size > left:
        check(container, tenant, size)  # with the numbers of now: meanwhile there may be room


def fold(container: Container) -> None:
    """Replace the many small changes of each tenant by their sum."""
    with container.database.read() as uow:
        tenants = uow.kept_bytes.unfolded(FOLDED)
    for tenant in tenants:
        count = FOLDED_AT_ONCE
        while count >= FOLDED_AT_ONCE:
            with container.database.write() as uow:
                count = uow.kept_bytes.fold(tenant, FOLDED_AT_ONCE)


def count_anew(container: Container) -> None:
    """Correct the counts once a day, also for the first time after an upgrade.

    The transactions keep them right; processes of an older release, which may run during an upgrade, do not.
    """
    lock = container.queue.locks.acquire(lock_names.counted_bytes(), COUNT_EVERY)
    if lock is None:
        return
    try:
        with container.database.read() as uow:
            missing = uow.kept_bytes.missing()
        if missing:
            with container.database.write() as uow:
                uow.kept_bytes.add(missing)
    except BaseException:
        lock.release()  # the next maintenance counts, not that of tomorrow
        raise
    if missing:
        log.info("the kept bytes of %d tenants were corrected", len(missing))
