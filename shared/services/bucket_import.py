"""The bucket import makes a dataset from a folder of a store that callers fill themselves.

A loader packs the folder as a tar and reads it like any other archive.
"""

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
from shared.domain.models import ProblemType
from shared.domain.sizes import exactly
from shared.services import datasets

SCHEME = "store:"
"""The prefix turns the name of a folder into the source of a dataset."""
_TRIES, _PAUSE = 100, 0.05
"""The number of attempts, and the seconds between two of them, to get the lock while another request holds it."""


def is_folder(source: str) -> bool:
    """Return True if the source of a dataset is a folder of the store."""
    return source.startswith(SCHEME)


def get_or_create(container: Container, tenant: str, name: str) -> Dataset:
    """Return the tenant's usable dataset of that name, else create a dataset, LOADING from the folder of that name.

    Concurrent requests create a single dataset, which is single-label. Raises BadOption (neither a dataset nor a folder
    at the top of the store), NotFound (no file in the folder), Unavailable.
    """
    if existing := _usable(container, tenant, name):
        return existing
    name = check_name(name, "dataset")
    _check(container, name)
    for _ in range(_TRIES):
        with container.queue.locks.renewed(lock_names.bucket_import(tenant, name)) as held:
            if held:
                created = _usable(container, tenant, name)  # created by the request that held the lock before
                return created or datasets.create(
                    container, tenant, name, source=f"{SCHEME}{name}", problem_type=ProblemType.SINGLE_LABEL
                )
        time.sleep(_PAUSE)
    raise errors.Unavailable(f"The dataset {name!r} is being made by another request; try again soon.")


def _usable(container: Container, tenant: str, name: str) -> Dataset | None:
    try:
        dataset = datasets.get_by_reference(container, tenant, name)
    except errors.NotFound:
        return None
    return dataset if dataset.state is not DatasetState.FAILED else None


def _check(container: Container, folder: str) -> None:
    if folder in (".", "..") or "/" in folder or "\\" in folder:
        raise errors.BadOption(f"a dataset in the store is a folder at its top, without slashes, not {folder!r}")
    if next(container.open_storage(container.settings.sap_store).tree(folder), None) is None:
        raise errors.NotFound(
            f"There is no usable dataset {folder!r}, and the store has no file below {folder}/. Put pictures there as "
            "training/LABEL/picture.jpg, or make the dataset by the native API: POST /v1/datasets."
        )


def pack(container: Container, source: str, file: IO[bytes], *, on_progress: Callable[[int, int], None]) -> None:
    """Write the folder as a tar to `file`, with one file in memory at a time.

    `on_progress` as in shared/adapters/http_fetch.py. Raises BadDataset (the folder exceeds the limits of one loading,
    or changes meanwhile), Unavailable.
    """
    settings, folder = container.settings, source.removeprefix(SCHEME)
    if not settings.sap_store:
        raise errors.BadDataset("This installation has no store for datasets any more.")
    store = container.open_storage(settings.sap_store)
    count = total = 0
    with tarfile.open(fileobj=file, mode="w") as archive:
        for path, stored in store.tree(folder):
            # One byte above the limit of a picture is enough for the reader to refuse the picture as too large;
            # reading it whole would cost memory for nothing.
            size = min(stored, settings.max_picture + 1)
            count, total = count + 1, total + size
            if count > settings.max_dataset_files or total > settings.max_dataset_unpacked:
                raise errors.BadDataset(
                    f"The folder {folder!r} holds more than the allowed {settings.max_dataset_files} files or "
                    f"{exactly(settings.max_dataset_unpacked)}. Load it in parts by the native API: POST /v1/datasets."
                )
            data = _read(store, path, size)
            member = tarfile.TarInfo(path.removeprefix(f"{folder}/"))
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
            archive.members.clear()  # type: ignore[attr-defined]  # tarfile keeps every header that it has written
            on_progress(total, 0)
    if not count:
        raise errors.BadDataset(f"There is no file below {folder}/ in the store any more. Put pictures there again.")


def _read(store: Storage, path: str, size: int) -> bytes:
    if not size:
        return b""  # an object store refuses to read a range of an empty file
    try:
        return store.read(path, 0, size)
    except FileNotFoundError:
        raise errors.BadDataset(f"{path!r} went from the store while it was read; ask again when it rests.") from None
