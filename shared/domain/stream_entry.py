"""One picture on a stream, and how it is written there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class StreamEntry:
    """One picture on its way: what a worker needs to run it without reading SQL first."""

    job_id: str
    position: int
    blob: str
    offset: int
    size: int
    task: str
    top_k: int
    function_to_apply: str
    exif: bool
    remember: bool = False
    id: str = ""
    """Of the stream entry; empty until it is claimed."""
    stream: str = ""
    """The Redis key of its stream; empty until it is claimed."""
    attempts: int = 1
    """How often it was delivered, this time included."""

    def pack(self) -> dict[str, str]:
        """One field of JSON: a stream keeps field names once but every value, and this is the shortest plain text.

        What came later has fields of its own, which workers of an older version do not look at: while a fleet is
        being upgraded, one that could not read an entry would let it pass for a picture that kills.
        """
        where = (self.job_id, self.position, self.blob, self.offset, self.size)
        what = (self.task, self.top_k, self.function_to_apply, int(self.exif))
        return {"e": json.dumps(where + what, separators=(",", ":"))} | ({"r": "1"} if self.remember else {})

    @classmethod
    def unpack(cls, fields: Mapping[str, str], entry_id: str, stream: str, attempts: int = 1) -> StreamEntry:
        job_id, position, blob, offset, size, task, top_k, function, exif = json.loads(fields["e"])
        return cls(job_id, position, blob, offset, size, task, top_k, function, bool(exif), "r" in fields, entry_id,
                   stream, attempts)  # fmt: skip

    @property
    def tenant(self) -> str:
        """Whose picture it is, as its stream says."""
        return self.stream.rpartition(":")[2]
