"""Use-cases of absences: what the records know and the storage lacks is waited for, since a part of it may be away.

The storage answers, and its marker is there. But a folder below may be a mount of its own, and an object store may lose
sight of some objects for minutes: what was accepted must not fail for good by that, and no caller may be told that
something is gone which nobody removed.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

from shared import errors
from shared.container import Container

LOST_AFTER = 86_400.0
"""Seconds after which a picture of a job is given up, if it is missing for WAITED as well: its caller has been told
that it will be answered, and whoever runs the service may need a day to bring a part of the storage back."""
WAITED = 600.0
"""Seconds after which an archive, a training, a comparison or the check of a model is given up: a mount that was
forgotten takes minutes, each try costs much more than that of a picture, and a caller can start it again."""


def wait_for(container: Container, key: str, what: str = "") -> str:
    """Note that the storage lacks a blob which the records know; `what` names it for people, if its key says nothing
    to them. Raises Unavailable, by which its work waits; returns since when it is missing, in words, once it was waited
    for long enough."""
    now = container.now()
    since = container.absences.note(key, now)
    if now < since + WAITED:
        raise errors.Unavailable(f"The storage lacks {what or key}, which nobody removed, since {in_words(since)}.")
    return in_words(since)


def read(
    container: Container, key: str, what: str, look: Callable[[], object], *, offset: int = 0, size: int | None = None
) -> bytes:
    """Return the bytes of a blob that a caller asks for, named by `what`. `look` reads its record again, and raises
    NotFound if that was removed meanwhile.

    Raises NotFound, and Unavailable while the storage is away, or while a part of it may be.
    """
    try:
        data = container.storage.read(key, offset, size)
    except FileNotFoundError:
        since = confirm_loss(container, key, what, look)
        raise errors.NotFound(f"The storage has lost {what}; it is missing since {since}.") from None
    container.absences.forget(key)
    return data


def confirm_loss(container: Container, key: str, what: str, look: Callable[[], object]) -> str:
    """Return since when a blob is missing, in words, once WAITED has passed. Raises what `look` raises, and Unavailable
    before."""
    look()
    return wait_for(container, key, what)


def forget_found(container: Container) -> None:
    """Forget the blobs that the storage has again, once work is done that may have read them."""
    for key in container.absences.remembered():
        with suppress(FileNotFoundError, errors.Unavailable):
            container.storage.size(key)
            container.absences.forget(key)


def report(container: Container) -> tuple[int, float]:
    """Return how many blobs this process misses, and since when the first, in Unix seconds, for its heartbeat; (0, 0)
    if none."""
    absent = container.absences.current(container.now())
    return len(absent), min(absent.values(), default=0.0)


def in_words(moment: float) -> str:
    """Return a time (Unix seconds) as messages have it: `2026-11-26T10:31:00+00:00`."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")
