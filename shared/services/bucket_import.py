"""Brings a folder of a store that callers fill themselves in as a dataset: packed by a loader, read as any archive."""

from __future__ import annotations

import io
import tarfile
import time
from collections.abc import Callable
from typing import IO

from shared import errors
from shared.container import Container, Storage
from shared.domain import lock_names
from shared.domain.datasets import Dataset, DatasetState, check_name
from shared.services import datasets

SCHEME = "store:"
"""Before the name of a folder it makes the source of a dataset."""
_TRIES, _PAUSE = 100, 0.05
"""How often, and how many seconds apart, the lock is asked for in which others make the dataset."""


def is_folder(source: str) -> bool:
    """Whether the source of a dataset is a folder of the store."""
    return source.startswith(SCHEME)


def bring(container: Container, tenant: str, name: str) -> Dataset:
    """The tenant's usable dataset of that name, else a new one, LOADING from the folder called so.

    However many ask at once, one dataset is made. Raises BadOption (neither a dataset nor a folder at the top of the
    store), NotFound (no file in it), Unavailable.
    """
    if found := _usable(container, tenant, name):
        return found
    name = check_name(name, "dataset")
    _check(container, name)
    for _ in range(_TRIES):
        with container.queue.locks.renewed(lock_names.bucket_import(tenant, name)) as held:
            if held:
                made = _usable(container, tenant, name)  # by whoever held it before
                return made or datasets.create(container, tenant, name, source=f"{SCHEME}{name}")
        time.sleep(_PAUSE)
    raise errors.Unavailable(f"The dataset {name!r} is being made by another request; try again soon.")


def _usable(container: Container, tenant: str, name: str) -> Dataset | None:
    try:
        found = datasets.get_by_reference(container, tenant, name)
    except errors.NotFound:
        return None
    return found if found.state is not DatasetState.FAILED else None


def _check(container: Container, folder: str) -> None:
    if folder in (".", "..") or "/" in folder or "\\" in folder:
        raise errors.BadOption(f"a dataset in the store is a folder at its top, without slashes, not {folder!r}")
    if next(container.open_storage(container.settings.sap_store).tree(folder), None) is None:
        raise errors.NotFound(
            f"There is no usable dataset {folder!r}, and the store has no file below {folder}/. Put pictures there as "
            "training/LABEL/picture.jpg, or make the dataset by the native API: POST /v1/datasets."
        )


def pack(container: Container, source: str, file: IO[bytes], *, on_progress: Callable[[int, int], None]) -> None:
    """Write the folder as a tar to `file`, one file in memory at a time; `on_progress` as in fetch.py.

    Raises BadDataset (more than may be loaded at once, or changed meanwhile), Unavailable.
    """
    settings, folder = container.settings, source.removeprefix(SCHEME)
    if not settings.sap_store:
        raise errors.BadDataset("This installation has no store for datasets any more.")
    store = container.open_storage(settings.sap_store)
    count = total = 0
    with tarfile.open(fileobj=file, mode="w") as archive:
        for path, stored in store.tree(folder):
            # One byte more than a picture may have is enough for whoever reads it to say that it is too large.
            size = min(stored, settings.max_picture + 1)
            count, total = count + 1, total + size
            if count > settings.max_dataset_files or total > settings.max_dataset_unpacked:
                raise errors.BadDataset(
                    f"The folder {folder!r} holds more than the allowed {settings.max_dataset_files} files or "
                    f"{settings.max_dataset_unpacked} bytes. Load it in parts by the native API: POST /v1/datasets."
                )
            data = _read(store, path, size)
            member = tarfile.TarInfo(path.removeprefix(f"{folder}/"))
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
            archive.members.clear()  # type: ignore[attr-defined]  # tarfile keeps every header it has written
            on_progress(total, 0)
    if not count:
        raise errors.BadDataset(f"There is no file below {folder}/ in the store any more. Put pictures there again.")


def _read(store: Storage, path: str, size: int) -> bytes:
    if not size:
        return b""  # an object store has no part of an empty file
    try:
        return store.read(path, 0, size)
    except FileNotFoundError:
        raise errors.BadDataset(f"{path!r} went from the store while it was read; ask again when it rests.") from None
