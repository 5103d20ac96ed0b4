"""Folders that `inferq models export` writes."""

from __future__ import annotations

from pathlib import Path

from shared.errors import BadWeights
from worker.model_files.model_file import ModelFile


def read(top: Path) -> ModelFile:
    """Return the exported version; raises BadWeights."""
    raise BadWeights("Exports are not read yet.")
