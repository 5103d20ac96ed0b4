"""The dataset import turns an archive, from uploaded bytes or a URL, into examples in a single commit.

    upload ──> keep_upload ──┐                  ┌──> names ──> archive_layout: the meaning of each path
    URL, folder in a store ──┴──> a local file ─┴──> tree: checked, decoded, hashed ──> one blob ──> one commit

Only the commit has an effect. A loader that crashes before it leaves a dataset that is LOADING, which another loader
starts again, and a blob that no example refers to, which `collect_garbage` removes.
"""

from __future__ import annotations

import hashlib
import io
import logging
import math
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import IO, BinaryIO

import uuid6

from shared import errors
from shared.container import Container, UnitOfWork, Writer
from shared.domain import archive_layout, lock_names
from shared.domain.archive_layout import ExamplePath
from shared.domain.datasets import REASONS, Dataset, DatasetExample, DatasetState, Source, open_next_version
from shared.domain.fair_order import fair_order
from shared.domain.pictures import Limits
from shared.imaging import archives, images
from shared.services import bucket_import

PIECE = 1024 * 1024
"""The number of bytes of an upload that are in memory at once."""
_TOLD_EVERY = 1.0
"""The minimum number of seconds between two progress reports of a loading."""
_FETCHING = 0.5
"""The share of the progress, from 0 to 1, that fetching from a URL or a store takes."""
_SHOWN = 3
"""The number of files that the error for an archive without any usable picture lists, each with its reason."""
_LONGEST_TOLD = 300
"""The maximum number of characters of a path, and of a reason; each dataset stores up to REASONS of them."""
log = logging.getLogger(__name__)


def keep_upload(container: Container, stream: IO[bytes]) -> str:
    """Store the uploaded bytes unread, for a loader to read later; return their key. Raises NoInput if empty."""
    key = f"uploads/{uuid6.uuid7()}"
    with container.storage.writing(key) as blob:
        size = 0
        while piece := stream.read(PIECE):
            blob.write(piece)
            size += len(piece)
        if not size:
            raise errors.NoInput("The file is empty. Send the bytes of an archive.")
    return key


def list_waiting(container: Container, served: Mapping[str, float]) -> list[Dataset]:
    """Return the datasets that are LOADING and that no loader holds, in the order in which they are to be loaded.

    `served` as in `fair_order`.
    """
    with container.database.read() as uow:
        loading = uow.datasets.in_state(DatasetState.LOADING)
    return [
        dataset
        for dataset in fair_order(loading, served)
        if not container.queue.locks.is_held(lock_names.dataset_import(dataset.id))
    ]


def load(container: Container, dataset_id: int, stopping: threading.Event | None = None) -> None:
    """Load a dataset whose lock the caller holds; its state and message record the result.

    A dataset that is not LOADING stays unchanged. It stays LOADING when `stopping` is set meanwhile, when the storage
    is unreachable, or when the loader fails, up to `max_attempts` times. Raises Unavailable when the database is
    unreachable.
    """
    begun = _begin(container, dataset_id)
    if begun is None:
        return
    found = _Found()
    if begun.attempts > container.settings.max_attempts:
        crashed = f"{begun.attempts - 1} loaders crashed on the archive; the last word was: {begun.message}"
        _give_up(container, begun, crashed, found)
        return
    progress = _Progress(container, begun, stopping or threading.Event())
    try:
        with _archive(container, begun, progress) as file:
            _take_in(container, begun, file, found, progress)
    except _Stopped:
        _put_back(container, begun)
    except errors.BadRequest as error:
        _give_up(container, begun, error.message, found)
    except errors.StorageFull as error:
        _give_up(container, begun, error.message, found)
    except errors.Unavailable as error:
        _await(container, begun, error.message, found)
    except OSError as error:
        _pause(container, begun, f"The disk of the loader fails ({error.strerror or error}).", found)
    except Exception as error:
        log.exception("loading dataset %d", begun.id)
        _pause(container, begun, f"The loader failed by {type(error).__name__}; its log says more.", found)


# getting the archive


class _Stopped(Exception):
    """The event `stopping` is set, so the loader ends without a result."""


class _Progress:
    """The progress of a loading is stored and announced once a second at most; raises _Stopped if `stopping` is set."""

    def __init__(self, container: Container, dataset: Dataset, stopping: threading.Event) -> None:
        self._container = container
        self._dataset_id = dataset.id
        self._told = -math.inf
        self.stopping = stopping
        self.fetched = 0.0
        """The share of the progress, from 0 to 1, that fetching took; 0 for an upload."""

    def fetching(self, done: int, total: int) -> None:
        """Report the bytes fetched so far; `total` is 0 if it is unknown."""
        self.fetched = _FETCHING
        of = f" of {total / 1e6:,.1f}" if total else ""
        self._tell(_FETCHING * min(1.0, done / total) if total else 0.0, f"fetched {done / 1e6:,.1f}{of} MB")

    def reading(self, done: int, total: int) -> None:
        """Report the files of the archive read so far; `total` is 0 before the archive has been listed."""
        share = done / total if total else 0.0
        words = f"read {done:,} of {total:,} pictures" if total else "looking into the archive"
        self._tell(self.fetched + (1 - self.fetched) * share, words)

    def _tell(self, progress: float, message: str) -> None:
        if self.stopping.is_set():
            raise _Stopped
        now = self._container.now()
        if now - self._told < _TOLD_EVERY:
            return
        self._told = now
        try:
            with self._container.database.write() as uow:
                uow.datasets.set_progress(self._dataset_id, progress, message)
        except errors.Unavailable as error:  # only the commit needs the database; a lost progress report is harmless
            log.warning("loading dataset %d: %s", self._dataset_id, error.message)
        self._container.queue.events.publish([], [str(self._dataset_id)])


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
    if _is_upload(source):
        try:
            container.storage.fetch_to(source, path)
        except FileNotFoundError:
            raise errors.NoInput("The uploaded archive is not there any more. Send it again.") from None
        return
    with open(path, "wb") as file:
        if bucket_import.is_folder(source):
            bucket_import.pack(container, source, file, on_progress=progress.fetching)
            return
        container.download(
            source, file, max_bytes=settings.max_dataset_archive, timeout=settings.dataset_timeout,
            allow_private=settings.fetch_private, on_progress=progress.fetching,
        )  # fmt: skip


def _is_upload(source: str) -> bool:
    """Return True if the source is the key of an uploaded archive, which was stored for this loading only."""
    return not source.lower().startswith(("http://", "https://")) and not bucket_import.is_folder(source)


# reading it


@dataclass(frozen=True)
class _Kept:
    place: ExamplePath
    sha256: str
    offset: int
    size: int


@dataclass
class _Found:
    """The usable pictures, duplicates and unreadable files found in an archive so far."""

    seen: set[str] = field(default_factory=set)
    """The SHA-256 of each picture that the dataset already has or that was kept from the archive."""
    kept: list[_Kept] = field(default_factory=list)
    duplicates: int = 0
    unreadable: int = 0
    reasons: list[tuple[str, str]] = field(default_factory=list)

    def take(self, path: str, data: bytes, place: ExamplePath, limits: Limits, blob: Writer) -> None:
        """Keep a picture, or count it as a duplicate or as unreadable."""
        sha256 = hashlib.sha256(data).hexdigest()
        if sha256 in self.seen:
            self.duplicates += 1
            return
        try:
            images.check(path, data, limits)
            # The pixels are discarded: a broken picture must be listed now instead of failing a training later.
            images.decode(data, exif=False, mode="RGB")
        except errors.BadPicture as error:
            self.refuse(path, _phrase(error, path))
            return
        self.seen.add(sha256)
        self.kept.append(_Kept(place, sha256, blob.write(data), len(data)))

    def refuse(self, path: str, why: str) -> None:
        """Count an unusable file; `why` is a phrase that follows its path."""
        self.unreadable += 1
        if len(self.reasons) < REASONS:
            self.reasons.append((_told(path), _told(why)))


def _phrase(error: errors.BadPicture, path: str) -> str:
    """Return the error's message as a phrase that follows the path."""
    return error.message.removeprefix(f"{path!r} ").removeprefix("The picture ")


def _told(text: str) -> str:
    """Return the text shortened and printable: some messages repeat bytes that libraries found in the file."""
    shown = text if len(text) <= _LONGEST_TOLD else f"{text[:_LONGEST_TOLD]}…"
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in shown)


def _take_in(container: Container, begun: Dataset, file: BinaryIO, found: _Found, progress: _Progress) -> None:
    """Read the archive, store its pictures in a single blob, and commit them."""
    progress.reading(0, 0)
    limits = _limits(container)
    bounds = {"max_files": limits.max_files, "max_unpacked": limits.max_unpacked}
    places = archive_layout.resolve(archives.names(file, **bounds))
    with container.database.read() as uow:
        found.seen |= uow.datasets.digests(begun)
    key = f"datasets/{begun.id}/{uuid6.uuid7()}"
    with container.storage.writing(key) as blob:
        members = archives.tree(file, **bounds, max_member=limits.max_bytes)
        for number, ((path, data), place) in enumerate(zip(members, places, strict=True)):
            progress.reading(number, len(places))
            if isinstance(place, str):
                found.refuse(path, place)
            elif isinstance(data, errors.BadPicture):
                found.refuse(path, _phrase(data, path))
            else:
                found.take(path, data, place, limits, blob)
        if not found.kept and not found.duplicates:
            raise errors.BadDataset(_complaint(found))
    _finish(container, begun, key, found)


def _limits(container: Container) -> Limits:
    settings = container.settings
    return Limits(
        max_bytes=settings.max_picture,
        max_pixels=settings.max_pixels,
        max_aspect=settings.max_aspect,
        max_files=settings.max_dataset_files,
        max_unpacked=settings.max_dataset_unpacked,
    )


def _complaint(found: _Found) -> str:
    first = "; ".join(f"{path!r} {why}" for path, why in found.reasons[:_SHOWN])
    more = f"; and {found.unreadable - _SHOWN} more" if found.unreadable > _SHOWN else ""
    return f"No file of the archive is a picture that can be used: {first}{more}"


# the beginning and the ends, each of which checks that no other loader has taken over


def _begin(container: Container, dataset_id: int) -> Dataset | None:
    """Count this attempt and return the dataset; None when there is nothing to load."""
    with container.database.write() as uow:
        found = uow.datasets.by_id(dataset_id, lock=True)
        if found is None or found.state is not DatasetState.LOADING:
            return None
        begun = replace(found, attempts=found.attempts + 1)
        uow.datasets.save(begun)
    return begun


def _own(uow: UnitOfWork, begun: Dataset) -> Dataset | None:
    """Return the current dataset; None if it is gone, or if another loader has begun it, as after a lost lock."""
    now = uow.datasets.by_id(begun.id, lock=True)
    if now is None or now.state is not DatasetState.LOADING:
        return None
    return now if (now.source, now.attempts) == (begun.source, begun.attempts) else None


def _finish(container: Container, begun: Dataset, blob: str, found: _Found) -> None:
    try:
        stored = _commit(container, begun, blob, found)
    except errors.Unavailable:
        raise  # the commit may have succeeded and only its reply be lost; `collect_garbage` removes an unused blob
    except BaseException:
        container.storage.delete(blob)
        raise
    if not stored or not found.kept:
        _drop(container, blob)
    if stored:
        log.info("dataset %d: %d pictures from its archive", begun.id, len(found.kept))
        _ended(container, begun)


def _commit(container: Container, begun: Dataset, blob: str, found: _Found) -> bool:
    """Store the found pictures; return False when the dataset no longer belongs to this loader."""
    now = container.now()
    with container.database.write() as uow:
        current = _own(uow, begun)
        if current is None:
            return False
        after = open_next_version(current) if found.kept else current
        ids = {name: label_id for label_id, name in uow.datasets.label_names(current.id).items()}
        # Only labels that have a picture, sorted by name, because the order in an archive is arbitrary.
        new = sorted({kept.place.label for kept in found.kept} - ids.keys())
        ids |= {name: label_id for label_id, name in enumerate(new, current.last_label + 1)}
        uow.datasets.add_labels(current.id, {ids[name]: name for name in new})
        uow.datasets.add_examples(
            [
                DatasetExample(
                    current.id,
                    number,
                    ids[kept.place.label],
                    kept.place.label,
                    kept.place.name,
                    kept.place.split,
                    Source.UPLOAD,
                    kept.sha256,
                    blob,
                    kept.offset,
                    kept.size,
                    after.version,
                    now,
                )
                for number, kept in enumerate(found.kept, current.last_example + 1)
            ]
        )
        uow.datasets.save(
            replace(
                _at_rest(after, now),
                duplicates=current.duplicates + found.duplicates,
                unreadable=current.unreadable + found.unreadable,
                reasons=(*current.reasons, *found.reasons)[:REASONS],
                last_label=current.last_label + len(new),
                last_example=current.last_example + len(found.kept),
            )
        )
    return True


def _at_rest(dataset: Dataset, now: float) -> Dataset:
    return replace(dataset, state=DatasetState.READY, message="", progress=1.0, source="", adding=False, attempts=0,
                   updated_at=now)  # fmt: skip


def _give_up(container: Container, begun: Dataset, reason: str, found: _Found) -> None:
    """End without the archive: a dataset that the archive was to be added to is READY as before, else FAILED."""
    with container.database.write() as uow:
        current = _own(uow, begun)
        if current is None:
            return
        ended = _at_rest(current, container.now())
        if current.adding:
            ended = replace(ended, message=f"the last archive could not be read: {reason}")
        else:
            ended = replace(ended, state=DatasetState.FAILED, message=reason, unreadable=found.unreadable,
                            reasons=tuple(found.reasons))  # fmt: skip
        uow.datasets.save(ended)
    log.info("dataset %d: %s", begun.id, reason)
    _ended(container, begun)


def _put_back(container: Container, begun: Dataset, message: str = "waiting for a trainer to read it") -> None:
    """Put the dataset back without counting the attempt: `stopping` was set, or the storage is unreachable."""
    with container.database.write() as uow:
        if current := _own(uow, begun):
            uow.datasets.save(replace(current, attempts=begun.attempts - 1, progress=0.0, message=message))


def _await(container: Container, begun: Dataset, why: str, found: _Found) -> None:
    """Put the dataset back until the storage is reachable; give up after `dataset_timeout` seconds."""
    log.warning("dataset %d: %s", begun.id, why)
    if container.now() > begun.updated_at + container.settings.dataset_timeout:
        _give_up(container, begun, why, found)
        return
    _put_back(container, begun, f"{why} It is tried again soon.")


def _pause(container: Container, begun: Dataset, why: str, found: _Found) -> None:
    """Leave the dataset for another attempt, unless this attempt was the last."""
    log.warning("dataset %d: %s", begun.id, why)
    if begun.attempts >= container.settings.max_attempts:
        _give_up(container, begun, f"{why} It was tried {begun.attempts} times.", found)
        return
    with container.database.write() as uow:
        uow.datasets.set_progress(begun.id, 0.0, f"{why} It is tried again soon.")
    container.queue.events.publish([], [str(begun.id)])


def _ended(container: Container, begun: Dataset) -> None:
    if _is_upload(begun.source):
        _drop(container, begun.source)
    container.queue.events.publish([str(begun.id)])


def _drop(container: Container, key: str) -> None:
    try:
        container.storage.delete(key)
    except errors.Unavailable as error:  # nothing refers to it, so `collect_garbage` removes it later
        log.warning("%s stays for a while: %s", key, error.message)
