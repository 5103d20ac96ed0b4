"""What the server answers about jobs, as data; lenient, so that an older client gets along with a newer server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_ENDED = ("DONE", "FAILED", "CANCELLED", "EXPIRED")
"""Asked only where the server does not say `terminal`."""


@dataclass(frozen=True)
class Result:
    """One label and its score, the best first."""

    label: str
    score: float


@dataclass(frozen=True)
class Prediction:
    """What came back for one picture: results, or why there are none."""

    name: str
    results: tuple[Result, ...] = ()
    error: str = ""
    """Empty when it went well."""


@dataclass(frozen=True)
class Job:
    """One request and what has become of it so far."""

    id: str
    status: str
    terminal: bool
    """True when it will not change any more, whatever statuses the server knows."""
    model: str
    version: str
    predictions: tuple[Prediction, ...] = ()
    error: str = ""
    total: int = 0
    """Pictures in the job."""
    done: int = 0
    """Pictures that have ended, well or not."""
    created_at: str = ""
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """The server's whole answer."""

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Job:
        """A job from the server's JSON; unknown fields are kept in `raw` and otherwise ignored."""
        progress, model = data.get("progress") or {}, data.get("model") or {}
        status = str(data.get("status", ""))
        return cls(
            id=str(data.get("_id") or data.get("id") or ""),
            status=status,
            terminal=bool(data.get("terminal", status in _ENDED)),
            model=str(model.get("name", "")),
            version=str(model.get("version", "")),
            predictions=tuple(_prediction(item) for item in data.get("predictions") or ()),
            error=_complaint(data),
            total=int(progress.get("total", 0)),
            done=int(progress.get("done", 0)) + int(progress.get("failed", 0)),
            created_at=str(data.get("created_at", "")),
            raw=data,
        )


def _prediction(item: Mapping[str, Any]) -> Prediction:
    results = tuple(Result(str(found["label"]), float(found["score"])) for found in item.get("results") or ())
    return Prediction(str(item.get("name", "")), results, _complaint(item))


def _complaint(data: Mapping[str, Any]) -> str:
    """The reason as people should read it, whichever of its fields carries it."""
    error = data.get("error_description") or data.get("error") or ""
    if isinstance(error, Mapping):
        error = error.get("detail") or error.get("message") or error.get("code") or ""
    return str(error)
