"""Datasets: labelled pictures to train on, in versions that never change once a training has used them.

    LOADING ──> READY <──> LOADING        an archive is being read; what it adds is committed at once
       └──────> FAILED                    the first archive gave nothing to train on; the message says why
    any ──────> DELETING ──> gone         the caller asked for it; maintenance removes pictures, then rows

Every change belongs to a version. A version that a training has used is sealed: the next change opens a new one, and an
example stores the first version that has it and the first that no longer has it. So an old training can always be
described, repeated and compared, while pictures come and go.
"""

from __future__ import annotations

import secrets
import unicodedata
from dataclasses import dataclass, replace
from enum import StrEnum

from shared import errors

LONGEST_NAME = 180
"""Characters of the name of a dataset, a label or an example."""
REASONS = 100
"""Pictures that could not be used and are told one by one; more are only counted."""


class DatasetState(StrEnum):
    LOADING = "LOADING"
    READY = "READY"
    FAILED = "FAILED"
    DELETING = "DELETING"


class Split(StrEnum):
    """What an example is for. OPEN ones are dealt out when a training begins, see splits.py."""

    OPEN = ""
    TRAINING = "training"
    VALIDATION = "validation"
    TEST = "test"


class Source(StrEnum):
    """How an example came: by an upload, or as the correction of a wrong prediction."""

    UPLOAD = "upload"
    FEEDBACK = "feedback"


@dataclass(frozen=True)
class Dataset:
    """Times are Unix seconds."""

    id: int
    """Below 2**53, so that JavaScript reads it too; later ones are larger."""
    tenant: str
    name: str
    state: DatasetState
    created_at: float
    updated_at: float
    message: str = ""
    """How far the loading is, or why the last archive could not be read; for people."""
    progress: float = 1.0
    """Of the loading, 0 to 1."""
    version: int = 1
    sealed: bool = False
    """The current version was trained on: the next change opens another."""
    duplicates: int = 0
    """Pictures that were there already and were left out."""
    unreadable: int = 0
    """Files that are no usable picture, or lie where no label is."""
    reasons: tuple[tuple[str, str], ...] = ()
    """(path, why) of the first REASONS of them."""
    source: str = ""
    """What is being loaded: the key of an uploaded archive, a URL, or a folder of a store, see import_store.py."""
    adding: bool = False
    """What is being loaded comes on top of what was READY, and takes nothing of that with it when it fails."""
    attempts: int = 0
    """How often a loader has begun with it."""
    last_label: int = 0
    last_example: int = 0


@dataclass(frozen=True)
class DatasetLabel:
    dataset_id: int
    id: int
    """1 is the dataset's first; unique within the dataset."""
    name: str
    examples: int = 0
    """In the current version."""


@dataclass(frozen=True)
class DatasetExample:
    """One labelled picture: `blob[offset:offset + size]`."""

    dataset_id: int
    id: int
    """1 is the dataset's first; unique within the dataset."""
    label_id: int
    label: str
    name: str
    split: Split
    source: Source
    sha256: str
    """Of the bytes, hex: a dataset has a picture once."""
    blob: str
    offset: int
    size: int
    since: int
    """The first version that has it."""
    created_at: float
    until: int | None = None
    """The first version that no longer has it."""


def new_id(now: float) -> int:
    """53 bits until 2039: milliseconds, then chance; sorts by time, and tells nobody how many there are."""
    return int(now * 1000) << 12 | secrets.randbelow(1 << 12)


def normalize_name(text: str) -> str:
    """A name in the one spelling in which names are stored: what looks the same is the same."""
    return unicodedata.normalize("NFC", text).strip()


def check_name(text: str, what: str) -> str:
    """A name of a dataset, label or training as it is stored; raises BadOption."""
    name = normalize_name(text)
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        article = "an" if what[0] in "aeiou" else "a"
        bounds = f"1 to {LONGEST_NAME} characters, all of them printable"
        raise errors.BadOption(f"the name of {article} {what} has {bounds}")
    return name


def file_name(text: str) -> str:
    """The name of a picture's file as an example keeps it: its end, with U+FFFD for what cannot be printed."""
    name = unicodedata.normalize("NFC", text)[-LONGEST_NAME:]
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in name)


# inside the domain


def open_next_version(dataset: Dataset) -> Dataset:
    """The dataset as it may be changed: a sealed version is left behind, and another one begun."""
    return replace(dataset, version=dataset.version + 1, sealed=False) if dataset.sealed else dataset


def changed(dataset: Dataset, now: float) -> Dataset:
    """The same: by a change of the caller's own, after which what became of the last archive is no news."""
    return replace(open_next_version(dataset), message="", updated_at=now)


def describe_state(dataset: Dataset) -> str:
    """The state in words that continue `The dataset is …`, with what to do about it."""
    return {
        DatasetState.LOADING: "still being loaded; try again when it is ready",
        DatasetState.FAILED: f"unusable ({dataset.message}); delete it and send a better archive",
        DatasetState.DELETING: "being deleted",
        DatasetState.READY: "ready",
    }[dataset.state]
