"""Datasets: labelled pictures to train on, in versions that never change once trained on (rules and use-cases).

    LOADING ──> READY <──> LOADING        an archive is being read; what it adds comes in one commit
       └──────> FAILED                    the first archive gave nothing to train on; the reason is told
    any ──────> DELETING ──> gone         asked for by the caller; the sweep removes pictures, then rows

Every change belongs to a version. A version that a training has used is sealed: the next change opens a new one, and
an example says from which version on it is there, and from which on it is not. So an old training can always be
told apart, repeated and compared, while pictures come and go.
"""

from __future__ import annotations

import hashlib
import secrets
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

import uuid6

from shared import errors
from shared.images import Picture

if TYPE_CHECKING:
    from shared.records import Unit
    from shared.tools import Tools

LONGEST_NAME = 180
"""Characters of the name of a dataset, a label or an example."""
REASONS = 100
"""Pictures that could not be used and are told one by one; more are only counted."""


class State(StrEnum):
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
    state: State
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
class Label:
    dataset_id: int
    id: int
    """1 is the dataset's first; unique within the dataset."""
    name: str
    examples: int = 0
    """In the current version."""


@dataclass(frozen=True)
class Example:
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


def spelled(text: str) -> str:
    """A name in the one spelling in which names are stored: what looks the same is the same."""
    return unicodedata.normalize("NFC", text).strip()


def name_of(text: str, what: str) -> str:
    """A name of a dataset, label or training as it is stored; raises BadOption."""
    name = spelled(text)
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        article = "an" if what[0] in "aeiou" else "a"
        bounds = f"1 to {LONGEST_NAME} characters, all of them printable"
        raise errors.BadOption(f"the name of {article} {what} has {bounds}")
    return name


def file_name(text: str) -> str:
    """The name of a picture's file as an example keeps it: its end, with U+FFFD for what cannot be printed."""
    name = unicodedata.normalize("NFC", text)[-LONGEST_NAME:]
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in name)


# creating and filling


def create(tools: Tools, tenant: str, name: str, *, source: str = "", labels: Sequence[str] = (),
           unique: bool = False) -> Dataset:  # fmt: skip
    """A new dataset: with these labels and no pictures, or LOADING from `source`. Raises BadOption.

    With `unique`, Conflict where there is one by that name: wires whose callers go by names rather than ids want that.
    `source` is a URL, a folder of a store, or the key of an uploaded archive, which then belongs to the dataset.
    """
    now = tools.now()
    name = name_of(name, "dataset")
    if source:
        tools.queue.ping()  # a queue that is away is said now, not when the bell cannot be rung
    made = Dataset(new_id(now), tenant, name, State.LOADING if source else State.READY, now, now, source=source)
    if source:
        made = replace(made, progress=0.0, message="waiting for a trainer to read it")
    named = list(dict.fromkeys(name_of(label, "label") for label in labels))
    with tools.records.write() as r:
        there = r.datasets.named(tenant, name)
        if unique and there and there.state is not State.FAILED:
            raise errors.Conflict(f"There is a dataset {name!r} already, {there.id}: add to it, or take another name.")
        r.datasets.add(replace(made, last_label=len(named)))
        r.datasets.add_labels(made.id, dict(enumerate(named, 1)))
    if source:
        tools.queue.call("load")
    return get(tools, tenant, made.id)


def add_archive(tools: Tools, tenant: str, dataset_id: int, source: str) -> Dataset:
    """Load more pictures from `source`, as `create` does; raises NotFound, Conflict unless the dataset is READY."""
    tools.queue.ping()
    with tools.records.write() as r:
        found = _changeable(r, tenant, dataset_id)
        r.datasets.save(
            replace(found, state=State.LOADING, source=source, adding=True, attempts=0, progress=0.0,
                    updated_at=tools.now(), message="waiting for a trainer to read it")
        )  # fmt: skip
    tools.queue.call("load")
    return get(tools, tenant, dataset_id)


def add_label(tools: Tools, tenant: str, dataset_id: int, name: str) -> Label:
    """A label, still without examples; raises NotFound, BadOption, Conflict where there is one by that name."""
    name = name_of(name, "label")
    with tools.records.write() as r:
        found = _changeable(r, tenant, dataset_id)
        if name in r.datasets.label_names(found.id).values():
            raise errors.Conflict(f"The dataset has a label {name!r} already.")
        made = Label(found.id, found.last_label + 1, name)
        r.datasets.save(replace(_changed(found, tools.now()), last_label=made.id))
        r.datasets.add_labels(found.id, {made.id: name})
    return made


def add_example(tools: Tools, tenant: str, dataset_id: int, label_id: int, picture: Picture, *,
                split: Split = Split.OPEN, source: Source = Source.UPLOAD) -> Example:  # fmt: skip
    """One more labelled picture; raises NotFound (dataset, label), Conflict (not READY, or the picture is there)."""
    name = file_name(picture.name)
    digest = hashlib.sha256(picture.data).hexdigest()
    named = _label_name(tools, tenant, dataset_id, label_id)  # before any bytes are kept
    blob = f"datasets/{dataset_id}/{uuid6.uuid7()}"
    tools.storage.write(blob, picture.data)
    try:
        with tools.records.write() as r:
            found = _changeable(r, tenant, dataset_id)
            now = tools.now()
            after = _changed(found, now)
            if there := r.datasets.by_sha256(found, digest):
                if not source is there.source is Source.FEEDBACK or there.label_id == label_id:
                    raise errors.Conflict(f"The dataset has this picture already: example {there.id}, {there.label!r}.")
                _take_out(r, there, after)  # the correction is corrected; `tidy` removes its bytes
            made = Example(found.id, found.last_example + 1, label_id, named, name, split, source, digest, blob, 0,
                           len(picture.data), after.version, now)  # fmt: skip
            r.datasets.add_examples([made])
            r.datasets.save(replace(after, last_example=made.id))
    except errors.Unavailable:
        raise  # the commit may have happened and only its answer be lost; `tidy` knows, later, and removes the blob
    except BaseException:
        tools.storage.delete(blob)
        raise
    return made


def remove_example(tools: Tools, tenant: str, dataset_id: int, example_id: int) -> None:
    """Take a picture out of the dataset; versions that were trained on keep it. Raises NotFound, Conflict."""
    with tools.records.write() as r:
        found = _changeable(r, tenant, dataset_id)
        gone = _example(r, found, example_id)
        after = _changed(found, tools.now())
        r.datasets.save(after)
        _take_out(r, gone, after)
        is_last = not r.datasets.uses(gone.dataset_id, gone.blob)
    if is_last:
        tools.storage.delete(gone.blob)


def _take_out(r: Unit, gone: Example, after: Dataset) -> None:
    """Of this version, which versions before it may share."""
    if gone.since < after.version:
        r.datasets.end_example(gone, after.version)
    else:
        r.datasets.delete_example(gone)


def delete(tools: Tools, tenant: str, dataset_id: int) -> Dataset:
    """Mark a dataset for removal; raises NotFound, Conflict while it is loading, trained on or compared on.

    Models that were trained on it stay, with their evidence; they can no longer be compared on its pictures.
    """
    with tools.records.write() as r:
        found = _locked(r, tenant, dataset_id)
        if found.state is State.LOADING:
            raise errors.Conflict(f"The dataset {found.name!r} is being loaded; delete it when that has ended.")
        if busy := r.trainings.live_on(dataset_id):
            raise errors.Conflict(f"The training {busy[0].id} uses the dataset; cancel it, or let it finish.")
        if waiting := r.comparisons.queued_on(dataset_id):
            raise errors.Conflict(f"The comparison {waiting[0].id} uses the dataset; let it finish.")
        after = replace(found, state=State.DELETING, updated_at=tools.now(), message="its pictures are being removed")
        r.datasets.save(after)
    return after


def drop_deleted(tools: Tools) -> None:
    """Remove the pictures, then the rows, of datasets marked for it; the sweep calls this, any number of times."""
    with tools.records.read() as r:
        marked = r.datasets.in_state(State.DELETING)
    for dataset in marked:
        for key in tools.storage.list(f"datasets/{dataset.id}"):
            tools.storage.delete(key)
        with tools.records.write() as r:
            r.datasets.delete(dataset.id)


# looking


def get(tools: Tools, tenant: str, dataset_id: int) -> Dataset:
    """The tenant's dataset; raises NotFound for anybody else's, in the same words as for none."""
    with tools.records.read() as r:
        found = r.datasets.get(tenant, dataset_id)
    if found is None:
        raise errors.NotFound(f"There is no dataset {dataset_id}.")
    return found


def find(tools: Tools, tenant: str, reference: str) -> Dataset:
    """The dataset with that id, else the newest with that name; raises NotFound naming what there is."""
    with tools.records.read() as r:
        if reference.isdecimal() and len(reference) < 17 and (found := r.datasets.get(tenant, int(reference))):
            return found
        if named := r.datasets.named(tenant, spelled(reference)):
            return named
        newest = r.datasets.page(tenant, limit=20)
    known = sorted({dataset.name for dataset in newest if dataset.state is not State.DELETING})
    there = f"there are: {', '.join(known)}" if known else "there are none"
    raise errors.NotFound(f"There is no dataset {reference!r}; {there}.")


def labels(tools: Tools, tenant: str, dataset_id: int) -> list[Label]:
    """In the order of their ids, with how many examples each has now; raises NotFound."""
    found = get(tools, tenant, dataset_id)
    with tools.records.read() as r:
        return r.datasets.labels(found)


def label(tools: Tools, tenant: str, dataset_id: int, label_id: int) -> Label:
    """Raises NotFound."""
    for known in labels(tools, tenant, dataset_id):
        if known.id == label_id:
            return known
    raise errors.NotFound(f"The dataset {dataset_id} has no label {label_id}.")


def label_named(tools: Tools, tenant: str, dataset_id: int, name: str) -> Label:
    """Raises NotFound (dataset), BadOption naming the labels that there are."""
    known = labels(tools, tenant, dataset_id)
    for one in known:
        if one.name == spelled(name):
            return one
    there = f"it has: {', '.join(one.name for one in known[:20])}" if known else "it has none yet"
    raise errors.BadOption(f"the dataset {dataset_id} has no label {name!r}; {there}")


def example(tools: Tools, tenant: str, dataset_id: int, example_id: int) -> Example:
    """One of the current version; raises NotFound."""
    found = get(tools, tenant, dataset_id)
    with tools.records.read() as r:
        return _example(r, found, example_id)


def until_loaded(tools: Tools, dataset: Dataset, seconds: float) -> Dataset:
    """The dataset when its loading has ended, however it did, or as it is when the time is over."""
    return tools.waiters.until(
        str(dataset.id), lambda: get(tools, dataset.tenant, dataset.id),
        lambda found: found.state is not State.LOADING, seconds,
    )  # fmt: skip


# inside the domain


def opened(dataset: Dataset) -> Dataset:
    """The dataset as it may be changed: a sealed version is left behind, and another one begun."""
    return replace(dataset, version=dataset.version + 1, sealed=False) if dataset.sealed else dataset


def _changed(dataset: Dataset, now: float) -> Dataset:
    """The same: by a change of the caller's own, after which what became of the last archive is no news."""
    return replace(opened(dataset), message="", updated_at=now)


def _locked(r: Unit, tenant: str, dataset_id: int) -> Dataset:
    found = r.datasets.get(tenant, dataset_id, lock=True)
    if found is None:
        raise errors.NotFound(f"There is no dataset {dataset_id}.")
    return found


def _changeable(r: Unit, tenant: str, dataset_id: int) -> Dataset:
    """The dataset, nobody else's to change until the transaction ends; raises NotFound, Conflict unless READY."""
    found = _locked(r, tenant, dataset_id)
    if found.state is not State.READY:
        raise errors.Conflict(f"The dataset {found.name!r} is {_now(found)}.")
    return found


def _label_name(tools: Tools, tenant: str, dataset_id: int, label_id: int) -> str:
    """Raises NotFound (dataset, label)."""
    found = get(tools, tenant, dataset_id)
    with tools.records.read() as r:
        names = r.datasets.label_names(found.id)
    if label_id not in names:
        raise errors.NotFound(f"The dataset {dataset_id} has no label {label_id}.")
    return names[label_id]


def _now(dataset: Dataset) -> str:
    return {
        State.LOADING: "still being loaded; try again when it is ready",
        State.FAILED: f"unusable ({dataset.message}); delete it and send a better archive",
        State.DELETING: "being deleted",
        State.READY: "ready",
    }[dataset.state]


def _example(r: Unit, dataset: Dataset, example_id: int) -> Example:
    found = r.datasets.example(dataset, example_id)
    if found is None:
        raise errors.NotFound(f"The dataset {dataset.id} has no example {example_id}.")
    return found
