"""The paths and ids of models on this wire, and how long its requests are held."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from api.context import wait_limiter

MODELS = ("/models", "/hf-inference/models")
"""The path prefixes of models: of the vendor's old host, and of its newer host."""
IDS = ("<name>", "<owner>/<name>")
PATIENCE = 1.0
"""Seconds that a request is held before its 503: one of the clients retries at once, and without end."""


def model_id(name: str, owner: str = "") -> str:
    """Return the id of a model from the parts of its path: `name`, or `owner/name`."""
    return f"{owner}/{name}" if owner else name


@contextmanager
def waiting_place() -> Iterator[bool]:
    """Take a waiting place for the block; yield False when all places are taken."""
    taken = wait_limiter().acquire()
    try:
        yield taken
    finally:
        if taken:
            wait_limiter().release()
