"""Use-cases of workers say whether the running workers take work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared import errors
from shared.container import Container
from shared.domain.counted import counted, verb

SILENT = 30.0
"""Seconds for which a picture may wait while no worker claims any; loading a large model takes less."""


def check_known(container: Container) -> None:
    """Raise QueueFull while Redis takes no writes: workers that run may not be registered then."""
    try:
        container.queue.ping()
    except errors.QueueFull as error:
        raise errors.QueueFull(
            "It is not known which workers run: Redis has no memory left, and takes no registration of any."
        ) from error


def check_claiming(container: Container) -> None:
    """Raise Unavailable, with the reason, if no worker runs, or if pictures wait and no running worker claims any;
    QueueFull if no worker is registered since Redis takes no writes."""
    workers = container.queue.workers.list()
    if not workers:
        check_known(container)
        raise errors.Unavailable("No worker is running.")
    now, allowed = container.now(), _allowed(container)
    if any(_is_claiming(worker, now - allowed) for worker in workers):
        return
    oldest = container.queue.streams.oldest()
    if oldest is not None and now - oldest > allowed:
        running = f"{counted(len(workers), 'worker')} {verb(len(workers), 'run')}"
        raise errors.Unavailable(
            f"Pictures have been waiting for up to {now - oldest:.0f} s, and no worker has claimed any for more than "
            f"{allowed:.0f} s, though {running}; the logs of workers say more."
        )


def list_silent(container: Container) -> list[dict[str, Any]]:
    """Return the heartbeats of the running workers that claim nothing while pictures wait."""
    now, allowed = container.now(), _allowed(container)
    oldest = container.queue.streams.oldest()
    if oldest is None or now - oldest <= allowed:
        return []
    return [worker for worker in container.queue.workers.list() if not _is_claiming(worker, now - allowed)]


def _allowed(container: Container) -> float:
    """Return the seconds for which a worker may claim nothing; a heartbeat may be nearly as old as a lease."""
    return SILENT + container.settings.lease


def _is_claiming(worker: Mapping[str, Any], since: float) -> bool:
    """Return True if it holds pictures, or has claimed some since then; a worker of an older version does not say."""
    return bool(worker.get("holds")) or worker.get("claimed_at", since) >= since
