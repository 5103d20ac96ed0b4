"""Brings a folder of a store that callers fill themselves in as a dataset: packed into one upload, loaded as any."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

import uuid6

from shared import datasets, errors
from shared.datasets import Dataset
from shared.storage import Storage

if TYPE_CHECKING:
    from shared.tools import Tools


def bring(tools: Tools, tenant: str, url: str, folder: str) -> Dataset:
    """A new dataset, called like the folder and LOADING from a copy of what is in it now; `url` is the store's.

    Raises BadOption (a name that is no folder at the top of the store), NotFound (no file in it), BadDataset (more
    than may be loaded at once), Unavailable.
    """
    name = datasets.name_of(folder, "dataset")
    if name in (".", "..") or "/" in name or "\\" in name:
        raise errors.BadOption(f"a dataset in the store is a folder at its top, without slashes, not {name!r}")
    key = f"uploads/{uuid6.uuid7()}"
    _pack(tools, Storage(url), name, key)
    try:
        return datasets.create(tools, tenant, name, source=key)
    except BaseException:
        tools.storage.delete(key)
        raise


def _pack(tools: Tools, store: Storage, folder: str, key: str) -> None:
    """Write the folder as a tar to the blob `key`, one file in memory at a time; by an error nothing stays."""
    settings = tools.settings
    count = total = 0
    with (
        tools.storage.writing(key) as blob,
        tarfile.open(fileobj=blob, mode="w|") as archive,  # type: ignore[call-overload]  # all it does is write
    ):
        for path, stored in store.tree(folder):
            # One byte more than a picture may have is enough for whoever loads it to say that it is too large.
            size = min(stored, settings.max_picture + 1)
            count, total = count + 1, total + size
            if count > settings.max_dataset_files or total > settings.max_dataset_unpacked:
                raise errors.BadDataset(
                    f"The folder {folder!r} holds more than the allowed {settings.max_dataset_files} files or "
                    f"{settings.max_dataset_unpacked} bytes. Load it in parts by the native API: POST /v1/datasets."
                )
            data = store.read(path, 0, size) if size else b""  # an object store has no part of an empty file
            member = tarfile.TarInfo(path.removeprefix(f"{folder}/"))
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
            archive.members.clear()  # tarfile keeps every header it has written
        if not count:
            raise errors.NotFound(
                f"There is no usable dataset {folder!r}, and the store has no file below {folder}/. Put pictures there "
                "as training/LABEL/picture.jpg, or make the dataset by the native API: POST /v1/datasets."
            )
