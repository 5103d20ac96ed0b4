"""Datasets hold labelled pictures to train on, in versions that never change once a training has used them.

    LOADING ──> READY <──> LOADING        an archive is being read; its pictures are committed at once
       └──────> FAILED                    the first archive had nothing to train on; the message says why
    any ──────> DELETING ──> removed      the caller asked for it; maintenance removes pictures, then rows

Every change belongs to a version. A version that a training has used is sealed: the next change opens a new version,
and an example stores the first version that has it and the first that no longer has it. So an old training can always
be described, repeated and compared, while pictures are added and removed.
"""

from __future__ import annotations

import secrets
import statistics
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from shared import errors
from shared.domain.models import ProblemType
from shared.domain.pictures import show_bytes

LONGEST_NAME = 180
"""Maximum characters of the name of a dataset, a label or an example."""
REASONS = 100
"""Number of unusable pictures that are listed with a reason, and of contradictions; more are only counted."""
UPLOADS = "uploads/"
"""The prefix of the keys of uploaded archives and weights."""
FEW = 10
"""A label with fewer pictures is warned of: a handful to learn from, and one or two to be tested on."""
RARE = 10
"""A label is warned of, too, if the median label has more than so many times its pictures."""
MOST_LABELS = 2_000
"""Maximum number of labels of a multi-label dataset: each picture gets an answer to each of them."""
MOST_OF_ONE = 100
"""Maximum number of labels of one picture."""

_NAMED = 5
"""The most labels that one warning names."""


class DatasetState(StrEnum):
    """The state of a dataset; the module docstring shows its moves."""

    LOADING = "LOADING"
    READY = "READY"
    FAILED = "FAILED"
    DELETING = "DELETING"


class Split(StrEnum):
    """The use of an example. OPEN examples are assigned when a training begins, see splits.py."""

    OPEN = ""
    TRAINING = "training"
    VALIDATION = "validation"
    TEST = "test"


class Source(StrEnum):
    """The origin of an example: an upload, or the correction of a wrong prediction."""

    UPLOAD = "upload"
    FEEDBACK = "feedback"


@dataclass(frozen=True)
class Contradiction:
    """One picture, byte by byte, under two labels: it teaches neither, and none of its files became an example."""

    labels: tuple[str, ...]
    """The label of each file, at least two different ones; in a multi-label dataset all labels of the file, as
    `join_labels` writes them."""
    paths: tuple[str, ...]
    """The path of each file in its archive; of a picture that the dataset had before, its label and name."""
    example: int | None = None
    """The id of the example that the dataset had before, and keeps; None if all files were in one archive."""


@dataclass(frozen=True)
class Dataset:
    """A dataset in its current version; times are Unix seconds."""

    id: int
    """Below 2**53, so that JavaScript can represent it; newer datasets have larger ids."""
    tenant: str
    name: str
    state: DatasetState
    created_at: float
    updated_at: float
    message: str = ""
    """The progress of loading, or why the last archive could not be read; for people."""
    progress: float = 1.0
    """Progress of loading, 0 to 1."""
    version: int = 1
    sealed: bool = False
    """True if the current version was trained on: the next change opens another version."""
    duplicates: int = 0
    """Pictures that were skipped because the dataset had them already."""
    unreadable: int = 0
    """Files that are not usable pictures, or lie outside of label folders."""
    reasons: tuple[tuple[str, str], ...] = ()
    """(path, reason) of the first REASONS unreadable files."""
    contradicting: int = 0
    """Pictures that archives had under two labels."""
    contradictions: tuple[Contradiction, ...] = ()
    """The first REASONS of them."""
    source: str = ""
    """The source being loaded: the key of an uploaded archive, a URL, or a folder of a bucket, see
    services/bucket_import.py."""
    adding: bool = False
    """True if the loading adds to a READY dataset, which keeps its pictures if the loading fails."""
    attempts: int = 0
    """Number of times that loading has begun."""
    last_label: int = 0
    last_example: int = 0
    source_size: int = 0
    """Bytes of the uploaded archive that is being loaded; 0 if it is read from elsewhere."""
    problem_type: ProblemType | None = ProblemType.SINGLE_LABEL
    """How many labels its pictures have, and so the problem type of the models that are trained on it; None until its
    first archive says it."""

    @property
    def is_multi_label(self) -> bool:
        """True if its pictures have any number of labels."""
        return self.problem_type is ProblemType.MULTI_LABEL


@dataclass(frozen=True)
class DatasetLabel:
    """A label of a dataset."""

    dataset_id: int
    id: int
    """1 is the dataset's first; unique within the dataset."""
    name: str
    examples: int = 0
    """Number of examples in the current version."""


@dataclass(frozen=True)
class Inventory:
    """What the current version of a dataset holds."""

    labels: Sequence[DatasetLabel]
    """In the order of their ids."""
    examples: int
    """In a multi-label dataset not the sum of those of the labels."""
    splits: Mapping[str, int] = field(default_factory=dict)
    """Declared split -> examples, where that is asked for; those without one are assigned when a training begins."""


@dataclass(frozen=True)
class DatasetExample:
    """A labelled picture; its bytes are `blob[offset:offset + size]`."""

    dataset_id: int
    id: int
    """1 is the dataset's first; unique within the dataset."""
    label_id: int
    """0 in a multi-label dataset, whose examples have `label_ids`."""
    label: str
    """Empty in a multi-label dataset."""
    name: str
    split: Split
    source: Source
    sha256: str
    """SHA-256 of the bytes, hex: a dataset contains a picture once."""
    blob: str
    offset: int
    size: int
    since: int
    """The first version that has it."""
    created_at: float
    until: int | None = None
    """The first version that no longer has it."""
    fingerprint: int | None = None
    """By which near-duplicates are found, see near_duplicates.py; None of pictures whose pixels are broken, or
    that an older version of the service has added."""
    label_ids: tuple[int, ...] = ()
    """In a multi-label dataset the labels that the picture has, in ascending order; it may have none."""
    labels: tuple[str, ...] = ()
    """The names of `label_ids`, in the same order."""

    @property
    def all_labels(self) -> tuple[str, ...]:
        """The names of its labels, in a dataset of either kind."""
        return (self.label,) if self.label else self.labels

    @property
    def all_label_ids(self) -> tuple[int, ...]:
        """The ids of its labels, in a dataset of either kind."""
        return (self.label_id,) if self.label_id else self.label_ids


def is_upload(source: str) -> bool:
    """Return True if the source of a dataset is the key of an uploaded archive, which was stored for this loading
    only."""
    return source.startswith(UPLOADS)


def new_id(now: float) -> int:
    """Return an id of 53 bits until 2039: milliseconds, then random bits; it sorts by time, and does not reveal a
    count."""
    return int(now * 1000) << 12 | secrets.randbelow(1 << 12)


def normalize_name(text: str) -> str:
    """Return a name in the normal form in which names are stored: names that look the same become the same."""
    return unicodedata.normalize("NFC", text).strip()


def check_name(text: str, noun: str) -> str:
    """Return the name of a dataset, label or training in its stored form; raises BadOption. `noun` is the noun for the
    error."""
    name = normalize_name(text)
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        article = "an" if noun[0] in "aeiou" else "a"
        bounds = f"1 to {LONGEST_NAME} characters, all of them printable"
        raise errors.BadOption(f"the name of {article} {noun} has {bounds}")
    return name


def file_name(text: str) -> str:
    """Return a picture's file name as an example stores it: its last characters, with U+FFFD for unprintable
    characters, and `%81` for a byte that could not be decoded."""
    name = unicodedata.normalize("NFC", show_bytes(text))[-LONGEST_NAME:]
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in name)


def join_labels(labels: Sequence[str]) -> str:
    """Return the labels of one picture as one text for people."""
    return " | ".join(labels) or "no label"


def check_labels_of_one(count: int) -> None:
    """Raise BadOption for more labels of one picture than MOST_OF_ONE."""
    if count > MOST_OF_ONE:
        raise errors.BadOption(f"a picture may have {MOST_OF_ONE} labels, not {count}")


def warnings(dataset: Dataset, labels: Sequence[DatasetLabel]) -> list[str]:
    """Return what the owner of the dataset should know before a training, in sentences."""
    counts = {label.name: label.examples for label in labels}
    if not any(counts.values()):
        return []
    usual = statistics.median(count for count in counts.values() if count)
    few = {name: count for name, count in counts.items() if count < FEW}
    rare = {name: count for name, count in counts.items() if name not in few and RARE * count < usual}
    found = []
    if few:
        found.append(
            f"Labels with fewer than {FEW} pictures: {_listed(few)}. A label needs dozens to be learned, and some to "
            "be tested on; add pictures, or take the label out."
        )
    if rare:
        found.append(
            f"Rare labels, while the median label has {usual:g} pictures: {_listed(rare)}. A model answers with them "
            "too seldom; add pictures."
        )
    if dataset.contradicting:
        under, decide = (
            ("different labels", "Decide for the labels of each")
            if dataset.is_multi_label
            else ("two labels", "Decide for one label of each")
        )
        found.append(f"Pictures that were sent under {under}: {dataset.contradicting}. {decide}, and send them again.")
    return found


def _listed(counts: Mapping[str, int]) -> str:
    shown = [f"{name!r} ({count})" for name, count in sorted(counts.items(), key=lambda item: item[1])[:_NAMED]]
    more = len(counts) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


# inside the domain


def open_next_version(dataset: Dataset) -> Dataset:
    """Return the dataset ready to be changed: if its version is sealed, the next version is opened."""
    return replace(dataset, version=dataset.version + 1, sealed=False) if dataset.sealed else dataset


def changed(dataset: Dataset, now: float) -> Dataset:
    """Return the dataset after a change by the caller, without the message about the last archive."""
    return replace(open_next_version(dataset), message="", updated_at=now)


def check_label_count(dataset: Dataset, count: int) -> None:
    """Raise BadDataset if a multi-label dataset would have more labels than MOST_LABELS."""
    if dataset.is_multi_label and count > MOST_LABELS:
        raise errors.BadDataset(
            f"The multi-label dataset {dataset.name!r} would have {count:,} labels; it may have {MOST_LABELS:,}. Leave "
            "some out, or make several datasets."
        )


def describe_duplicate(duplicate: DatasetExample, labels: Sequence[str]) -> str:
    """Return why a picture with these labels is not added to a dataset that has it already, with advice."""
    known = f"The dataset has this picture already: example {duplicate.id}, {join_labels(duplicate.all_labels)!r}."
    if duplicate.all_labels == labels:
        return known
    twice = "" if not duplicate.label else " A picture with two labels teaches neither:"
    return f"{known}{twice} {'if' if twice else 'If'} {join_labels(labels)!r} is right, remove that example first."


def describe_state(dataset: Dataset) -> str:
    """Return the state in words that continue `The dataset is …`, with advice."""
    return {
        DatasetState.LOADING: "still being loaded; try again when it is ready",
        DatasetState.FAILED: f"unusable ({dataset.message}); delete it and send a better archive",
        DatasetState.DELETING: "being deleted",
        DatasetState.READY: "ready",
    }[dataset.state]
