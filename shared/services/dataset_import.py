"""A dataset's archive, from uploaded bytes or a URL to examples in one commit (use-cases of whoever loads it).

    upload ──> keep_upload ──┐                  ┌──> names ──> layout: what each path means
    URL, folder in a store ──┴──> a local file ─┴──> tree: checked, decoded, hashed ──> one blob ──> one commit

The commit is the only thing that counts. A loader that dies before it leaves a dataset that is LOADING, for another to
begin anew, and a blob that no example refers to, for `tidy` to remove.
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
"""Bytes of an upload in memory at once."""
_TOLD_EVERY = 1.0
"""Seconds between two words on how far the loading is."""
_FETCHING = 0.5
"""Share of the progress that fetching from a URL is."""
_SHOWN = 3
"""Files of an archive without any picture, told with the reason."""
_LONGEST_TOLD = 300
"""Characters of a path, and of a reason: each dataset carries REASONS of them."""
log = logging.getLogger(__name__)


def keep_upload(container: Container, stream: IO[bytes]) -> str:
    """The key of the bytes, stored as they come for somebody to look at later. Raises NoInput when there are none."""
    key = f"uploads/{uuid6.uuid7()}"
    with container.storage.writing(key) as blob:
        size = 0
        while piece := stream.read(PIECE):
            blob.write(piece)
            size += len(piece)
        if not size:
            raise errors.NoInput("The file is empty. Send the bytes of an archive.")
    return key


def waiting(container: Container, served: Mapping[str, float]) -> list[Dataset]:
    """Datasets that are LOADING and that no loader holds, in the order in which they are to be loaded.

    `served` as in `tenants.in_turn`.
    """
    with container.database.read() as uow:
        loading = uow.datasets.in_state(DatasetState.LOADING)
    return [
        dataset
        for dataset in fair_order(loading, served)
        if not container.queue.locks.is_held(lock_names.dataset_import(dataset.id))
    ]


def load(container: Container, dataset_id: int, stopping: threading.Event | None = None) -> None:
    """Load one dataset, whose lock the caller holds; its state and message say how that ended.

    Nothing happens to one that is not LOADING. It stays LOADING when `stopping` is set meanwhile, when the storage is
    away, or when the loader fails, up to `max_attempts` times. Raises Unavailable when the database is away.
    """
    begun = _begin(container, dataset_id)
    if begun is None:
        return
    found = _Found()
    if begun.attempts > container.settings.max_attempts:
        died = f"{begun.attempts - 1} loaders died over the archive; the last word was: {begun.message}"
        _give_up(container, begun, died, found)
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
    """The loader was told to stop."""


class _Progress:
    """Tells how far it is, once a second at most; raises _Stopped when the loader was told to stop."""

    def __init__(self, container: Container, dataset: Dataset, stopping: threading.Event) -> None:
        self._container = container
        self._dataset_id = dataset.id
        self._told = -math.inf
        self.stopping = stopping
        self.fetched = 0.0
        """The share that was fetching."""

    def fetching(self, done: int, total: int) -> None:
        """Bytes; `total` is 0 where it is not known."""
        self.fetched = _FETCHING
        of = f" of {total / 1e6:,.1f}" if total else ""
        self._tell(_FETCHING * min(1.0, done / total) if total else 0.0, f"fetched {done / 1e6:,.1f}{of} MB")

    def reading(self, done: int, total: int) -> None:
        """Files of the archive; `total` is 0 before it has been looked into."""
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
        except errors.Unavailable as error:  # the commit will need the database, this does not
            log.warning("loading dataset %d: %s", self._dataset_id, error.message)
        self._container.queue.events.publish([], [str(self._dataset_id)])


class _Stoppable(io.FileIO):
    """The archive: looking into a large one takes long, and goes through no code of ours."""

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
    with file:  # its name is gone by now, so that a loader that dies leaves nothing on this disk
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
    """Whether it is the key of what was kept for this loading only."""
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
    """What an archive turned out to hold."""

    seen: set[str] = field(default_factory=set)
    """SHA-256 of what the dataset has, and of what was kept."""
    kept: list[_Kept] = field(default_factory=list)
    duplicates: int = 0
    unreadable: int = 0
    reasons: list[tuple[str, str]] = field(default_factory=list)

    def take(self, path: str, data: bytes, place: ExamplePath, limits: Limits, blob: Writer) -> None:
        """Keep a picture, or count why not."""
        sha256 = hashlib.sha256(data).hexdigest()
        if sha256 in self.seen:
            self.duplicates += 1
            return
        try:
            images.check(path, data, limits)
            # The pixels are thrown away: what is broken is to be listed now, not to fail a training.
            images.decode(data, exif=False, mode="RGB")
        except errors.BadPicture as error:
            self.refuse(path, _phrase(error, path))
            return
        self.seen.add(sha256)
        self.kept.append(_Kept(place, sha256, blob.write(data), len(data)))

    def refuse(self, path: str, why: str) -> None:
        """Count a file that is no use; `why` is a phrase to follow its path."""
        self.unreadable += 1
        if len(self.reasons) < REASONS:
            self.reasons.append((_told(path), _told(why)))


def _phrase(error: errors.BadPicture, path: str) -> str:
    """The complaint as a phrase to follow the path."""
    return error.message.removeprefix(f"{path!r} ").removeprefix("The picture ")


def _told(text: str) -> str:
    """As it can be stored and shown: some complaints repeat what libraries found in the file."""
    shown = text if len(text) <= _LONGEST_TOLD else f"{text[:_LONGEST_TOLD]}…"
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in shown)


def _take_in(container: Container, begun: Dataset, file: BinaryIO, found: _Found, progress: _Progress) -> None:
    """Everything from the archive to the commit."""
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


# the beginning and the ends, each of which checks that nobody else has taken over


def _begin(container: Container, dataset_id: int) -> Dataset | None:
    """The dataset with this attempt counted; None when there is nothing to load."""
    with container.database.write() as uow:
        found = uow.datasets.by_id(dataset_id, lock=True)
        if found is None or found.state is not DatasetState.LOADING:
            return None
        begun = replace(found, attempts=found.attempts + 1)
        uow.datasets.save(begun)
    return begun


def _own(uow: UnitOfWork, begun: Dataset) -> Dataset | None:
    """The dataset as it is now; None when it is gone, or another loader has begun with it, as after a lost lock."""
    now = uow.datasets.by_id(begun.id, lock=True)
    if now is None or now.state is not DatasetState.LOADING:
        return None
    return now if (now.source, now.attempts) == (begun.source, begun.attempts) else None


def _finish(container: Container, begun: Dataset, blob: str, found: _Found) -> None:
    try:
        stored = _commit(container, begun, blob, found)
    except errors.Unavailable:
        raise  # the commit may have happened and only its answer be lost; `tidy` knows, later, and removes the blob
    except BaseException:
        container.storage.delete(blob)
        raise
    if not stored or not found.kept:
        _drop(container, blob)
    if stored:
        log.info("dataset %d: %d pictures from its archive", begun.id, len(found.kept))
        _ended(container, begun)


def _commit(container: Container, begun: Dataset, blob: str, found: _Found) -> bool:
    """Store what was found; False when the dataset is no longer this loader's."""
    now = container.now()
    with container.database.write() as uow:
        current = _own(uow, begun)
        if current is None:
            return False
        after = open_next_version(current) if found.kept else current
        ids = {name: label_id for label_id, name in uow.datasets.label_names(current.id).items()}
        # Only labels that have a picture, and by name: the order in an archive is chance.
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
    """End without the archive: READY as it was before where it was to be added to that, else FAILED."""
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
    """The loader was told to stop, or the storage is away: that is no death."""
    with container.database.write() as uow:
        if current := _own(uow, begun):
            uow.datasets.save(replace(current, attempts=begun.attempts - 1, progress=0.0, message=message))


def _await(container: Container, begun: Dataset, why: str, found: _Found) -> None:
    """Leave it until the storage is back, unless it has been away for as long as a loading may take."""
    log.warning("dataset %d: %s", begun.id, why)
    if container.now() > begun.updated_at + container.settings.dataset_timeout:
        _give_up(container, begun, why, found)
        return
    _put_back(container, begun, f"{why} It is tried again soon.")


def _pause(container: Container, begun: Dataset, why: str, found: _Found) -> None:
    """Leave it for another attempt, unless this was the last."""
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
    except errors.Unavailable as error:  # nothing refers to it: `tidy` removes it later
        log.warning("%s stays for a while: %s", key, error.message)
