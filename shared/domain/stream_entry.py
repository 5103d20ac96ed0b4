"""Stream entries: a picture on a stream, and its encoding."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class StreamEntry:
    """A picture to run, with all that a worker needs to run it without reading SQL first."""

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
    with_thresholds: bool = False
    """As in Job; older entries lack it, as they lack `remember`."""
    is_quick: bool = False
    """True if its job has this picture only, and no deadline."""
    picture: bytes | None = field(default=None, repr=False)
    """The bytes of a small picture; None if it is to be read from its blob or its item."""
    id: str = ""
    """The id of the stream entry; empty until it is claimed."""
    stream: str = ""
    """The Redis key of its stream; empty until it is claimed."""
    attempts: int = 1
    """The number of deliveries, including this one."""
    retries: int = 0
    """How often its job had been retried when it was put on the stream; older entries lack it."""
    is_search: bool = False
    """True if the neighbours of its features are the answer; older entries lack it."""
    explain: str | None = None
    """As in Job; older entries lack it, and workers of an older version answer without an explanation."""
    trace: str = ""
    """The traceparent below which its spans belong; empty if its job is not traced."""
    pushes: int = 1
    """As in JobTrace."""

    def pack(self) -> dict[str, str]:
        """Encode as one field of JSON: a stream stores field names once but every value, and this is the shortest plain
        text.

        Options that were added later have separate fields, which workers of an older version ignore: during an upgrade,
        a worker that could not read an entry would treat it as a picture that crashes workers. Of a small picture they
        find no blob, and wait for the storage; so workers are upgraded before the API.
        """
        picture = (self.job_id, self.position, self.blob, self.offset, self.size)
        options = (self.task, self.top_k, self.function_to_apply, int(self.exif))
        later = {"r": self.remember, "t": self.with_thresholds, "q": self.is_quick, "s": self.is_search}
        packed = {"e": json.dumps(picture + options, separators=(",", ":"))}
        if self.picture is not None:
            packed["p"] = base64.b64encode(self.picture).decode()  # the connection reads every reply as text
        if self.retries:
            packed["n"] = str(self.retries)
        if self.explain is not None:
            packed["x"] = self.explain
        if self.trace:
            packed["c"] = self.trace
        if self.pushes > 1:
            packed["u"] = str(self.pushes)
        return packed | {name: "1" for name, is_set in later.items() if is_set}

    @classmethod
    def unpack(cls, fields: Mapping[str, str], entry_id: str, stream: str, attempts: int = 1) -> StreamEntry:
        """Decode an entry as Redis returns it."""
        job_id, position, blob, offset, size, task, top_k, function, exif = json.loads(fields["e"])
        picture = base64.b64decode(fields["p"]) if "p" in fields else None
        return cls(job_id, position, blob, offset, size, task, top_k, function, bool(exif), "r" in fields,
                   "t" in fields, "q" in fields, picture, entry_id, stream, attempts,
                   int(fields.get("n", 0)), "s" in fields, fields.get("x"),
                   fields.get("c", ""), int(fields.get("u", 1)))  # fmt: skip

    @property
    def pushed_at(self) -> float:
        """Unix seconds by the clock of Redis."""
        return int(self.id.partition("-")[0]) / 1000

    @property
    def priority(self) -> str:
        """The priority of the picture, read from the name of its stream."""
        return self.stream.split(":")[-2]

    @property
    def tenant(self) -> str:
        """The tenant of the picture, read from the name of its stream."""
        return self.stream.rpartition(":")[2]
