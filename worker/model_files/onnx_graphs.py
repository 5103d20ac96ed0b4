"""ONNX files: a whole network with its weights, and the metadata that exporters write into it."""

from __future__ import annotations

from pathlib import Path

from shared.errors import BadWeights
from worker.model_files.model_file import ModelFile


def is_onnx(head: bytes) -> bool:
    """Return True for bytes that begin as an ONNX file does."""
    return False


def read(path: Path) -> ModelFile:
    """Return the graph with what its metadata say; raises BadWeights."""
    raise BadWeights("ONNX files are not read yet.")
