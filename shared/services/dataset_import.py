"""The dataset import turns an archive, from uploaded bytes or a URL, into examples in a single commit.

    upload ──> keep_upload ──┐                  ┌──> names ──> label_tables, archive_layout: the labels of each path
    URL, folder in a store ──┴──> a local file ─┴──> tree: checked, decoded, hashed ──> one blob ──> one commit

Only the commit has an effect. A loader that crashes before it leaves a dataset that is LOADING, which another loader
starts again, and a blob that no example refers to, which `collect_garbage` removes. The state changes of a loading are
in dataset_import_runs.py.
"""

from __future__ import annotations

import hashlib
import io
import logging
import math
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import IO, BinaryIO

import uuid6

from shared import errors
from shared.container import Container, Writer
from shared.domain import archive_layout, label_tables
from shared.domain.archive_layout import ExamplePath
from shared.domain.datasets import REASONS, UPLOADS, Contradiction, Dataset, is_upload, join_labels
from shared.domain.label_tables import TableLayout
from shared.domain.models import ProblemType
from shared.domain.pictures import Limits, show_bytes
from shared.imaging import archives, fingerprints, images
from shared.services import absences, bucket_import, dataset_import_runs, kept_bytes
from shared.services.dataset_import_runs import ArchiveContents, StoredPicture

PIECE = 1024 * 1024
"""The number of bytes of an upload that are in memory at once."""
_REPORT_EVERY = 1.0
"""The minimum number of seconds between two progress reports of a loading."""
_FETCHING = 0.5
"""The share of the progress, from 0 to 1, that fetching from a URL or a store takes."""
_SHOWN = 3
"""The number of files that the error for an archive without any usable picture lists, each with its reason."""
_FILES = 10
"""The most files that one contradiction lists."""
_LONGEST_REASON = 300
"""The maximum number of characters of a path, and of a reason; each dataset stores up to REASONS of them."""
log = logging.getLogger(__name__)


def keep_upload(container: Container, tenant: str, stream: IO[bytes]) -> str:
    """Store the uploaded bytes unread, for a loader to read later; return their key. Raises NoInput if empty,
    QuotaExceeded."""
    kept_bytes.check(container, tenant, 1)
    key, room = f"{UPLOADS}{uuid6.uuid7()}", kept_bytes.room(container, tenant)
    with container.storage.writing(key) as blob:
        while piece := stream.read(PIECE):
            blob.write(piece)
            kept_bytes.fits(container, tenant, room, blob.size)
        if not blob.size:
            raise errors.NoInput("The file is empty. Send the bytes of an archive.")
    return key


def load(container: Container, dataset_id: int, stopping: threading.Event | None = None) -> None:
    """Load a dataset whose lock the caller holds; its state and message record the result.

    A dataset that is not LOADING stays unchanged. It stays LOADING when `stopping` is set meanwhile, when the storage
    is unreachable, when a disk is full, or when the loader fails, up to `max_attempts` times. Raises Unavailable when
    the database is unreachable.
    """
    begun = dataset_import_runs.begin(container, dataset_id)
    if begun is None:
        return
    contents = ArchiveContents()
    if begun.attempts > container.settings.max_attempts:
        crashed = f"{begun.attempts - 1} loaders crashed on the archive; the last word was: {begun.message}"
        dataset_import_runs.give_up(container, begun, crashed, contents)
        return
    progress = _Progress(container, begun, stopping or threading.Event())
    try:
        with _archive(container, begun, progress) as file:
            blob = _read(container, begun, file, contents, progress)
            dataset_import_runs.finish(container, begun, blob, contents)
    except _Stopped:
        dataset_import_runs.put_back(container, begun)
    except (errors.BadRequest, errors.QuotaExceeded) as error:
        dataset_import_runs.give_up(container, begun, error.message, contents)
    except errors.Unavailable as error:
        dataset_import_runs.put_back_until_reachable(container, begun, error.message, contents)
    except OSError as error:
        if errors.is_disk_full(error):
            full = "The disk of the loader is full; make room on it."
            dataset_import_runs.put_back_until_reachable(container, begun, full, contents)
            return
        reason = f"The disk of the loader fails ({error.strerror or error})."
        dataset_import_runs.leave_for_next_attempt(container, begun, reason, contents)
    except Exception as error:
        log.exception("loading dataset %d", begun.id)
        reason = f"The loader failed by {type(error).__name__}; its log says more."
        dataset_import_runs.leave_for_next_attempt(container, begun, reason, contents)


# getting the archive


class _Stopped(Exception):
    """The event `stopping` is set, so the loader ends without a result."""


class _Progress:
    """The progress of a loading is stored and announced once a second at most; raises _Stopped if `stopping` is set."""

    def __init__(self, container: Container, dataset: Dataset, stopping: threading.Event) -> None:
        self._container = container
        self._dataset_id = dataset.id
        self._reported_at = -math.inf
        self.stopping = stopping
        self.fetched = 0.0
        """The share of the progress, from 0 to 1, that fetching took; 0 for an upload."""

    def fetching(self, done: int, total: int) -> None:
        """Report the bytes fetched so far; `total` is 0 if it is unknown."""
        self.fetched = _FETCHING
        of = f" of {total / 1e6:,.1f}" if total else ""
        self._report(_FETCHING * min(1.0, done / total) if total else 0.0, f"fetched {done / 1e6:,.1f}{of} MB")

    def reading(self, done: int, total: int) -> None:
        """Report the files of the archive read so far; `total` is 0 before the archive has been listed."""
        share = done / total if total else 0.0
        words = f"read {done:,} of {total:,} pictures" if total else "looking into the archive"
        self._report(self.fetched + (1 - self.fetched) * share, words)

    def _report(self, progress: float, message: str) -> None:
        if self.stopping.is_set():
            raise _Stopped
        now = self._container.now()
        if now - self._reported_at < _REPORT_EVERY:
            return
        self._reported_at = now
        dataset_import_runs.report_progress(self._container, self._dataset_id, progress, message)


class _Stoppable(io.FileIO):
    """The archive file raises _Stopped on a read once `stopping` is set.

    Listing a large archive takes long and runs inside library code, where only the reads can be interrupted.
    """

    def __init__(self, path: str, stopping: threading.Event) -> None:
        super().__init__(path)
        self._stopping = stopping

    def read(self, size: int | None = -1) -> bytes:
        if self._stopping.is_set():
            raise _Stopped
        return super().read(-1 if size is None else size) or b""


@contextmanager
def _archive(container: Container, dataset: Dataset, progress: _Progress) -> Iterator[BinaryIO]:
    with tempfile.TemporaryDirectory(prefix="inferq-load-") as folder:
        path = f"{folder}/archive"
        _fetch(container, dataset.source, path, progress)
        file = _Stoppable(path, progress.stopping)
    with file:  # its name is already removed, so that a loader that crashes leaves nothing on this disk
        yield file


def _fetch(container: Container, source: str, path: str, progress: _Progress) -> None:
    settings = container.settings
    if is_upload(source):
        try:
            container.storage.fetch_to(source, path)
        except FileNotFoundError:
            since = absences.wait_for(container, source)
            raise errors.NoInput(f"The storage has lost the uploaded archive, since {since}. Send it again.") from None
        container.absences.forget(source)
        return
    with open(path, "wb") as file:
        if bucket_import.is_folder(source):
            bucket_import.pack(container, source, file, on_progress=progress.fetching)
            return
        container.download(
            source, file, max_bytes=settings.max_dataset_archive, timeout=settings.dataset_timeout,
            allow_private=settings.fetch_private, on_progress=progress.fetching,
        )  # fmt: skip


# reading the archive


@dataclass
class _PictureCollector:
    """Stores the usable pictures of an archive in a blob, and lists the other files: duplicates, contradictions and
    unreadable ones."""

    known: Mapping[str, tuple[int, tuple[str, ...], str]]
    """The SHA-256 of each picture that the dataset already has -> (id, labels, name) of its example."""
    contents: ArchiveContents
    limits: Limits
    blob: Writer
    check_room: Callable[[int], None]
    """Raises QuotaExceeded if the tenant may not keep so many more bytes."""
    replaced: int
    """Bytes of the archive, whose place the pictures take."""
    stored: dict[str, StoredPicture] = field(default_factory=dict)
    """By SHA-256: the pictures that were stored from the archive."""
    labelled: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    """By SHA-256: (labels, path) of each file of a picture whose files have different labels."""
    joins_labels: bool = False
    """True if a picture has the labels of all its files, as one that lies in several label folders of a multi-label
    dataset."""
    sent_again: dict[str, list[tuple[tuple[str, ...], str]]] = field(default_factory=dict)
    """By SHA-256, with `joins_labels`: (labels, path) of each file of a picture that the dataset already has."""

    def add(self, path: str, data: bytes, place: ExamplePath) -> None:
        """Store a picture, or count it as a duplicate or as unreadable."""
        sha256 = hashlib.sha256(data).hexdigest()
        if self.joins_labels and sha256 in self.known:
            self.sent_again.setdefault(sha256, []).append((place.labels, _printable(path)))
            return
        if self.joins_labels and (stored := self.stored.get(sha256)):
            labels = tuple(dict.fromkeys((*stored.place.labels, *place.labels)))
            self.contents.duplicates += labels == stored.place.labels
            self.stored[sha256] = replace(stored, place=replace(stored.place, labels=labels))
            return
        if sha256 in self.known or sha256 in self.stored:
            first = self._first(sha256)
            if sha256 in self.labelled or set(first[0]) != set(place.labels):
                given = (join_labels(place.labels), _printable(path))
                self.labelled.setdefault(sha256, [(join_labels(first[0]), first[1])]).append(given)
            else:
                self.contents.duplicates += 1
            return
        try:
            images.check(path, data, self.limits)
            # The pixels are discarded: a broken picture must be listed now instead of failing a training later.
            image = images.decode(data, exif=False, mode="RGB")
        except errors.BadPicture as error:
            self.refuse(path, _phrase(error, path))
            return
        mark = fingerprints.fingerprint(image)
        self.stored[sha256] = StoredPicture(place, sha256, self.blob.write(data), len(data), mark, path)
        self.check_room(self.blob.size - self.replaced)

    def _first(self, sha256: str) -> tuple[tuple[str, ...], str]:
        """Return (labels, path) of the first file with that content, in the dataset or else in the archive."""
        if sha256 in self.known:
            _, labels, name = self.known[sha256]
            return labels, f"{join_labels(labels)}/{name}"
        picture = self.stored[sha256]
        return picture.place.labels, _printable(picture.path)

    def end(self) -> None:
        """Fill the contents: a picture whose files have different labels is none of the pictures, since either may be
        wrong. One that the dataset already has is a duplicate if its files have no other labels together."""
        for sha256, again in self.sent_again.items():
            labels, name = self._first(sha256)
            if {label for own, _ in again for label in own} <= set(labels):
                self.contents.duplicates += len(again)
            else:
                self.labelled[sha256] = [(join_labels(own), path) for own, path in ((labels, name), *again)]
        self.contents.pictures = [picture for sha256, picture in self.stored.items() if sha256 not in self.labelled]
        self.contents.left_out = self.blob.size - sum(picture.size for picture in self.contents.pictures)
        for sha256, files in self.labelled.items():
            texts, paths = zip(*files[:_FILES], strict=True)
            example = self.known[sha256][0] if sha256 in self.known else None
            self.contents.contradictions.append(Contradiction(texts, paths, example))

    def refuse(self, path: str, reason: str) -> None:
        """Count an unusable file; `reason` is a phrase that follows its path."""
        self.contents.unreadable += 1
        if len(self.contents.reasons) < REASONS:
            self.contents.reasons.append((_printable(path), _printable(reason)))


def _phrase(error: errors.BadPicture, path: str) -> str:
    """Return the error's message as a phrase that follows the path."""
    return error.message.removeprefix(f"{path!r} ").removeprefix("The picture ")


def _printable(text: str) -> str:
    """Return the text shortened and printable: some messages repeat bytes that libraries found in the file."""
    text = show_bytes(text)
    shown = text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]}…"
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in shown)


def _read(container: Container, begun: Dataset, file: BinaryIO, contents: ArchiveContents, progress: _Progress) -> str:
    """Read the archive into `contents`, and return the key of the blob that holds its pictures; raises BadDataset."""
    progress.reading(0, 0)
    limits = _limits(container)
    bounds = {"max_files": limits.max_files, "max_unpacked": limits.max_unpacked}
    paths = archives.names(file, **bounds)
    tables = archives.some(file, label_tables.find(paths), **bounds, max_total=label_tables.MAX_BYTES)
    places, faults = _places(paths, tables, begun, contents)
    with container.database.read() as uow:
        known = uow.datasets.digests(begun)
    key = f"datasets/{begun.id}/{uuid6.uuid7()}"
    with container.storage.writing(key) as blob:
        check_room = partial(kept_bytes.fits, container, begun.tenant, kept_bytes.room(container, begun.tenant))
        joins_labels = contents.problem_type is ProblemType.MULTI_LABEL and not contents.has_table
        collector = _PictureCollector(
            known, contents, limits, blob, check_room, begun.source_size, joins_labels=joins_labels
        )
        for where, fault in faults:
            collector.refuse(where, fault)
        members = archives.tree(file, **bounds, max_member=limits.max_bytes)
        for number, ((path, data), place) in enumerate(zip(members, places, strict=True)):
            progress.reading(number, len(places))
            if place is None:
                continue
            if isinstance(place, str):
                collector.refuse(path, place)
            elif isinstance(data, errors.BadPicture):
                collector.refuse(path, _phrase(data, path))
            else:
                collector.add(path, data, place)
        collector.end()
        if not contents.pictures and not contents.duplicates and not contents.contradictions:
            raise errors.BadDataset(_describe_unusable(contents))
    return key


def _places(
    paths: Sequence[str], tables: Mapping[str, bytes], begun: Dataset, contents: ArchiveContents
) -> tuple[list[ExamplePath | str | None], list[tuple[str, str]]]:
    """Return for each path its place, the reason why it has none, or None for a table; and the faults of the tables.

    Sets the problem type of the contents. Raises BadDataset.
    """
    layout = label_tables.resolve(paths, tables) if tables else {}
    if isinstance(layout, TableLayout):
        contents.has_table = True
        contents.problem_type = _problem_type(layout, begun)
        return layout.places, layout.faults
    contents.problem_type = begun.problem_type or ProblemType.SINGLE_LABEL
    try:
        places = archive_layout.resolve(paths)
    except errors.BadDataset as error:
        if not layout:
            raise
        why = "; ".join(f"{show_bytes(path)!r} {reason}" for path, reason in layout.items())
        raise errors.BadDataset(f"The archive has neither a table of labels nor label folders: {why}.") from error
    return [layout.get(path, place) for path, place in zip(paths, places, strict=True)], []


def _problem_type(layout: TableLayout, begun: Dataset) -> ProblemType:
    """Return the problem type of a dataset by its first table: single-label if each picture has exactly one label.

    Raises BadDataset if the dataset is single-label already and a picture has not.
    """
    if begun.problem_type is None:
        return ProblemType.MULTI_LABEL if layout.odd else ProblemType.SINGLE_LABEL
    if not begun.is_multi_label and layout.odd:
        name, count = layout.odd
        raise errors.BadDataset(
            f"{name!r} has {count} labels, and the dataset has one for each picture. Make a multi-label dataset for "
            "pictures with any number of labels."
        )
    return begun.problem_type


def _limits(container: Container) -> Limits:
    settings = container.settings
    return Limits(
        max_bytes=settings.max_picture,
        max_pixels=settings.max_pixels,
        max_aspect=settings.max_aspect,
        max_files=settings.max_dataset_files,
        max_unpacked=settings.max_dataset_unpacked,
    )


def _describe_unusable(contents: ArchiveContents) -> str:
    first = "; ".join(f"{path!r} {why}" for path, why in contents.reasons[:_SHOWN])
    more = f"; and {contents.unreadable - _SHOWN} more" if contents.unreadable > _SHOWN else ""
    return f"No file of the archive is a picture that can be used: {first}{more}"
