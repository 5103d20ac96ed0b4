"""Use-cases of workers say whether the running workers take work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared import errors
from shared.container import Container

SILENT = 30.0
"""Seconds for which a picture may wait while no worker claims any; loading a large model takes less."""


def check_claiming(container: Container) -> None:
    """Raise Unavailable, with the reason, if no worker runs, or if pictures wait and no running worker claims any."""
    workers = container.queue.workers.list()
    if not workers:
        raise errors.Unavailable("No worker is running.")
    now = container.now()
    allowed = SILENT + container.settings.lease  # a heartbeat may be nearly as old as a lease
    if any(_is_claiming(worker, now - allowed) for worker in workers):
        return
    oldest = container.queue.streams.oldest()
    if oldest is not None and now - oldest > allowed:
        raise errors.Unavailable(
            f"Pictures have been waiting for up to {now - oldest:.0f} s, and no worker has claimed any for more than "
            f"{allowed:.0f} s, though {len(workers)} of them are running; their logs say more."
        )


def _is_claiming(worker: Mapping[str, Any], since: float) -> bool:
    """Return True if it holds pictures, or has claimed some since then; a worker of an older version does not say."""
    return bool(worker.get("holds")) or worker.get("claimed_at", since) >= since
