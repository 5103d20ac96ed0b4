"""The names of the locks that keep two processes from doing the same work, in one place so that none is used twice."""

from __future__ import annotations

DELIVERY = "deliver"
"""Held by the process that sends callbacks."""


def model_check(version_id: str) -> str:
    """Held while a worker checks the version."""
    return f"check:{version_id}"


def training(training_id: str) -> str:
    """Held while a trainer runs the training."""
    return f"training:{training_id}"


def dataset_import(dataset_id: int) -> str:
    """Held while a trainer reads an archive into the dataset."""
    return f"dataset:{dataset_id}"


def comparison(comparison_id: str) -> str:
    """Held while a trainer compares two versions."""
    return f"comparison:{comparison_id}"


def bucket_import(tenant: str, name: str) -> str:
    """Held while a folder of the store becomes a dataset."""
    return f"store:{tenant}:{name}"


def notified(task: str) -> str:
    """Never released: it expires, and until then maintenance does not send the task again."""
    return f"bell:{task}"
