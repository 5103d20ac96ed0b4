"""The tensors of a file, as an import without a state key takes them."""

from __future__ import annotations

import tempfile
from pathlib import Path

from worker import model_files
from worker.families import Weights
from worker.model_files import tensors


def read_weights(path: Path) -> Weights:
    """Return the checked tensors of the only set in a file, without the prefixes of wrappers."""
    with tempfile.TemporaryDirectory() as folder:
        state = tensors.choose(model_files.read(path, Path(folder)), "")
    tensors.check(state, path.stat().st_size)
    return tensors.without_prefix(state)
