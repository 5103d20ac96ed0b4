"""The paths and ids of models on this wire, and how long its requests are held."""

from __future__ import annotations

MODELS = ("/models", "/hf-inference/models")
"""The path prefixes of models: of the vendor's old host, and of its newer host."""
IDS = ("<name>", "<owner>/<name>")
PATIENCE = 1.0
"""Seconds that a request is held before its 503: one of the clients retries at once, and without end."""


def model_id(name: str, owner: str = "") -> str:
    """Return the id of a model from the parts of its path: `name`, or `owner/name`."""
    return f"{owner}/{name}" if owner else name
