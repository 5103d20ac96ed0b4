"""Reading of the stored pictures of examples."""

from __future__ import annotations

from PIL import Image

from shared import errors
from shared.adapters.storage import Storage
from shared.domain.datasets import DatasetExample
from shared.domain.preprocessing import Preprocessing
from worker import preprocess


def read(storage: Storage, example: DatasetExample) -> bytes:
    """Return the bytes of an example's picture; raises NotFound naming the example, Unavailable."""
    try:
        return storage.read(example.blob, example.offset, example.size)
    except FileNotFoundError:
        raise errors.NotFound(
            f"The picture of example {example.id}, {example.name!r}, is not in the storage any more; take it out of "
            "the dataset, and train again."
        ) from None


def decoded(storage: Storage, example: DatasetExample, preprocessing: Preprocessing) -> Image.Image:
    """Return the picture upright, in the mode of the network; raises as `read` does, and BrokenPicture."""
    return preprocess.decode(read(storage, example), preprocessing)
