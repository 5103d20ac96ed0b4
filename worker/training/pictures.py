"""Reading of the stored pictures of examples."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

from shared import errors
from shared.adapters.storage import Storage
from shared.container import Container
from shared.domain.datasets import DatasetExample
from shared.domain.preprocessing import Preprocessing
from shared.services import absences
from worker import preprocess


class Missing(errors.NotFound):
    """The storage lacks a blob that the records know: it is lost, or a part of the storage is away."""

    def __init__(self, message: str, key: str) -> None:
        """`key` is that of the blob."""
        super().__init__(message)
        self.key = key


@contextmanager
def waiting_for_blobs(container: Container) -> Iterator[None]:
    """Raise Unavailable in place of Missing while the blob is waited for; after that, NotFound that says since when."""
    try:
        yield
    except Missing as error:
        since = absences.wait_for(container, error.key)
        raise errors.NotFound(f"{error.message} It has been missing since {since}.") from error
    absences.forget_found(container)


def read(storage: Storage, example: DatasetExample) -> bytes:
    """Return the bytes of an example's picture; raises Missing naming the example, Unavailable."""
    try:
        return storage.read(example.blob, example.offset, example.size)
    except FileNotFoundError:
        raise Missing(
            f"The picture of example {example.id}, {example.name!r}, is not in the storage any more; take it out of "
            "the dataset, and train again.",
            example.blob,
        ) from None


def decoded(storage: Storage, example: DatasetExample, preprocessing: Preprocessing) -> Image.Image:
    """Return the picture upright, in the mode of the network; raises as `read` does, and BrokenPicture."""
    return preprocess.decode(read(storage, example), preprocessing)
