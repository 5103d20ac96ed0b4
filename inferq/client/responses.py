"""The server's responses as data; parsing is lenient, so that an older client works with a newer server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_ENDED = ("DONE", "FAILED", "CANCELLED", "EXPIRED")
"""Terminal statuses, used only if the server does not send `terminal`."""


@dataclass(frozen=True)
class Result:
    """A label and its score; the best comes first."""

    label: str
    score: float


@dataclass(frozen=True)
class Prediction:
    """The answer for one picture: results, or the reason for having none."""

    name: str
    results: tuple[Result, ...] = ()
    error: str = ""
    """Empty if it succeeded."""


@dataclass(frozen=True)
class Job:
    """A request and its progress."""

    id: str
    status: str
    terminal: bool
    """True if it will not change any more, whatever statuses the server has."""
    model: str
    version: str
    predictions: tuple[Prediction, ...] = ()
    error: str = ""
    total: int = 0
    """Pictures in the job."""
    done: int = 0
    """Pictures that have ended, with success or failure."""
    created_at: str = ""
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """The server's whole response."""

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Job:
        """Read a job from the server's JSON; unknown fields are kept in `raw` and otherwise ignored."""
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


@dataclass(frozen=True)
class Dataset:
    """Labelled pictures to train on."""

    id: str
    name: str
    state: str
    """LOADING, READY, FAILED or DELETING."""
    message: str
    """The progress of loading, or why the last archive could not be read."""
    progress: float
    """Progress of loading, 0 to 1."""
    version: int
    labels: tuple[tuple[str, int], ...] = ()
    """(name, number of pictures); in a list of datasets only of the first labels."""
    label_count: int = 0
    """The number of all labels."""
    examples: int = 0
    """Pictures, of all labels."""
    duplicates: int = 0
    """Pictures that were skipped because the dataset had them already."""
    unreadable: int = 0
    """Files that could not be used."""
    reasons: tuple[tuple[str, str], ...] = ()
    """(path, reason) of the first files that could not be used."""
    created_at: str = ""
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """The server's whole response."""

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Dataset:
        """Read a dataset from the server's JSON."""
        return cls(
            id=str(data.get("id", "")),
            name=str(data.get("name", "")),
            state=str(data.get("state", "")),
            message=str(data.get("message") or ""),
            progress=float(data.get("progress") or 0.0),
            version=int(data.get("version") or 0),
            labels=tuple((str(one["name"]), int(one.get("examples", 0))) for one in data.get("labels") or ()),
            label_count=int(data.get("label_count") or 0),
            examples=int(data.get("examples") or 0),
            duplicates=int(data.get("duplicates") or 0),
            unreadable=int(data.get("unreadable") or 0),
            reasons=tuple((str(one["path"]), str(one["why"])) for one in data.get("reasons") or ()),
            created_at=str(data.get("created_at", "")),
            raw=data,
        )


@dataclass(frozen=True)
class Training:
    """A training of a model version on a dataset, and its progress."""

    id: str
    status: str
    terminal: bool
    """True when it will not change any more."""
    name: str
    """The name of the model."""
    version: str
    """The version that it has made; empty until it is DONE."""
    progress: float
    """0 to 1."""
    message: str
    """The current activity, for people."""
    position: int
    """Position in the queue, 1 is the next; 0 if it does not wait."""
    base: str = ""
    curve: tuple[Mapping[str, Any], ...] = ()
    """An entry per epoch: stage, epoch, train_loss, train_accuracy, validation_loss, validation_accuracy."""
    error: str = ""
    evidence: Mapping[str, Any] | None = None
    """The measurements; None until it is DONE, and in lists."""
    created_at: str = ""
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """The server's whole response."""

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Training:
        """Read a training from the server's JSON."""
        status = str(data.get("status", ""))
        return cls(
            id=str(data.get("_id") or data.get("id") or ""),
            status=status,
            terminal=bool(data.get("terminal", status in _ENDED)),
            name=str(data.get("name", "")),
            version=str((data.get("model") or {}).get("version", "")),
            progress=float(data.get("progress") or 0.0),
            message=str(data.get("message") or ""),
            position=int(data.get("position") or 0),
            base=str(data.get("base") or ""),
            curve=tuple(data.get("curve") or ()),
            error=_complaint(data),
            evidence=data.get("evidence"),
            created_at=str(data.get("created_at", "")),
            raw=data,
        )


def _prediction(item: Mapping[str, Any]) -> Prediction:
    results = tuple(Result(str(found["label"]), float(found["score"])) for found in item.get("results") or ())
    return Prediction(str(item.get("name", "")), results, _complaint(item))


def _complaint(data: Mapping[str, Any]) -> str:
    """Return the reason for people, from whichever field has it."""
    error = data.get("error_description") or data.get("error") or ""
    if isinstance(error, Mapping):
        error = error.get("detail") or error.get("message") or error.get("code") or ""
    return str(error)
