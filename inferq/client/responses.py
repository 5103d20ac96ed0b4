"""What the server answers, as data; lenient, so that an older client gets along with a newer server."""

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


@dataclass(frozen=True)
class Dataset:
    """Labelled pictures to train on."""

    id: str
    name: str
    state: str
    """LOADING, READY, FAILED or DELETING."""
    message: str
    """How far the loading is, or why the last archive could not be read."""
    progress: float
    """Of the loading, 0 to 1."""
    version: int
    labels: tuple[tuple[str, int], ...] = ()
    """Name, and number of pictures; in a list of datasets only of the first."""
    label_count: int = 0
    """How many labels there are."""
    examples: int = 0
    """Pictures, of all labels."""
    duplicates: int = 0
    """Pictures that were there already and were left out."""
    unreadable: int = 0
    """Files that could not be used."""
    reasons: tuple[tuple[str, str], ...] = ()
    """Path, and why it could not be used, of the first of them."""
    created_at: str = ""
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """The server's whole answer."""

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Dataset:
        """A dataset from the server's JSON."""
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
    """The making of a model version out of a dataset, and what has become of it so far."""

    id: str
    status: str
    terminal: bool
    """True when it will not change any more."""
    name: str
    """Of the model."""
    version: str
    """The version that it has made; empty until it is DONE."""
    progress: float
    """0 to 1."""
    message: str
    """What it is doing, for people."""
    position: int
    """In the queue, 1 is the next; 0 is not waiting."""
    base: str = ""
    curve: tuple[Mapping[str, Any], ...] = ()
    """One entry per epoch: stage, epoch, train_loss, train_accuracy, validation_loss, validation_accuracy."""
    error: str = ""
    evidence: Mapping[str, Any] | None = None
    """What was measured; None until it is DONE, and in lists."""
    created_at: str = ""
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """The server's whole answer."""

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Training:
        """A training from the server's JSON."""
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
    """The reason as people should read it, whichever of its fields carries it."""
    error = data.get("error_description") or data.get("error") or ""
    if isinstance(error, Mapping):
        error = error.get("detail") or error.get("message") or error.get("code") or ""
    return str(error)
