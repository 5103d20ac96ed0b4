"""The names of the locks that prevent two processes from doing the same work, in one file so that names are unique."""

from __future__ import annotations

from shared.domain.searches import SearchIndex


def push_again(version_id: str) -> str:
    """Return the name of the lock that is held while what the queue has lost of the version is pushed again."""
    return f"push:{version_id}"


def model_check(version_id: str) -> str:
    """Return the name of the lock that a worker holds while it checks the version."""
    return f"check:{version_id}"


def model_export(version_id: str) -> str:
    """Return the name of the lock that a worker holds while it converts the version to ONNX."""
    return f"export:{version_id}"


def rejection(version_id: str) -> str:
    """Return the name of the lock that a worker holds while it fits the rejection rule of the version."""
    return f"rejection:{version_id}"


def drift_reference(version_id: str) -> str:
    """Return the name of the lock that a worker holds while it measures the reference of the version."""
    return f"drift:{version_id}"


def conversion(version_id: str) -> str:
    """Return the name of the lock that a worker holds while it converts the version for a faster runtime."""
    return f"conversion:{version_id}"


def training(training_id: str) -> str:
    """Return the name of the lock that a trainer holds while it runs the training."""
    return f"training:{training_id}"


def dataset_import(dataset_id: int) -> str:
    """Return the name of the lock that a trainer holds while it reads an archive into the dataset."""
    return f"dataset:{dataset_id}"


def comparison(comparison_id: str) -> str:
    """Return the name of the lock that a trainer holds while it compares two versions."""
    return f"comparison:{comparison_id}"


def search_index(index: SearchIndex) -> str:
    """Return the name of the lock that a trainer holds while it computes the features of a collection."""
    return f"search:{index.version_id}:{index.dataset_id}:{index.stage}:{index.tenant}"


def bucket_import(tenant: str, name: str) -> str:
    """Return the name of the lock that is held while a folder of the bucket becomes a dataset."""
    return f"store:{tenant}:{name}"


def notified(task: str) -> str:
    """Return the name of a lock that is never released: until it expires, maintenance does not send the task again."""
    return f"bell:{task}"


def counted_bytes() -> str:
    """Return the name of a lock that is released only after a failure: until it expires, kept bytes are not counted
    anew."""
    return "bytes"
