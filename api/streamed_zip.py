"""A zip that is sent while it is written, so that weights of gigabytes are never held in memory or on the disk."""

from __future__ import annotations

import time
import zipfile
from collections.abc import Iterable, Iterator

Member = tuple[str, Iterable[bytes]]
"""Name and contents of a file."""
_EARLIEST = 315_532_800.0
"""1980, before which a zip has no dates, in Unix seconds."""


class _Sent:
    """What the zip has written since it was last taken. It has no `seek`, so that sizes are written after the data."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        """Keep the bytes."""
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Do nothing: `take` is called instead."""

    def take(self) -> bytes:
        """Return the bytes and forget them."""
        taken, self._parts = b"".join(self._parts), []
        return taken


def stream(members: Iterable[Member], made_at: float) -> Iterator[bytes]:
    """Yield the bytes of a zip, the same for the same members; `made_at` is their date, in Unix seconds.

    Nothing is compressed: weights and pictures hardly shrink.
    """
    sent = _Sent()
    date = time.gmtime(max(made_at, _EARLIEST))[:6]
    with zipfile.ZipFile(sent, "w", zipfile.ZIP_STORED) as packed:  # type: ignore[call-overload]
        for name, content in members:
            with packed.open(zipfile.ZipInfo(name, date), "w", force_zip64=True) as file:
                for part in content:
                    file.write(part)
                    yield sent.take()
    yield sent.take()
