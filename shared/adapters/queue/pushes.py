"""What is pushed on the streams, in pages, and how much is on them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from shared.domain.stream_entry import StreamEntry

PAGE = 2000
"""Entries that are pushed at once; Redis does nothing else meanwhile."""


@dataclass(frozen=True)
class StreamDepth:
    """The numbers of waiting and running pictures on one stream."""

    version_id: str
    priority: str
    tenant: str
    waiting: int
    running: int
    oldest: float | None
    """Unix seconds at which the oldest entry was pushed."""


def depth_of(lane: tuple[str, str, str], length: int, pending: Mapping[str, Any], first: Sequence[Any]) -> StreamDepth:
    """Return how much is on a stream, from what Redis says to XLEN, XPENDING and XRANGE."""
    running = pending["pending"]
    oldest = int(first[0][0].split("-")[0]) / 1000 if first else None
    return StreamDepth(*lane, max(0, length - running), running, oldest)


@dataclass(frozen=True)
class Pushed:
    """Entries for one stream."""

    version_id: str
    priority: str
    tenant: str
    entries: Sequence[StreamEntry]


def pages(pushed: Sequence[Pushed]) -> Iterator[list[Pushed]]:
    """Yield the entries in the same order, at most PAGE at once."""
    page: list[Pushed] = []
    room = PAGE
    for each in pushed:
        start = 0
        while start < len(each.entries):
            piece = each.entries[start : start + room]
            page.append(replace(each, entries=piece))
            start, room = start + len(piece), room - len(piece)
            if not room:
                yield page
                page, room = [], PAGE
    if page:
        yield page


def by_stream(entries: Iterable[StreamEntry]) -> dict[str, list[str]]:
    """Return the ids of the entries, grouped by stream."""
    streams: dict[str, list[str]] = {}
    for entry in entries:
        streams.setdefault(entry.stream, []).append(entry.id)
    return streams
