"""Reading of the files in a folder of a model."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shared.errors import BadWeights
from worker.model_files import tensors
from worker.model_files.model_file import ModelFile

_WEIGHTS = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".onnx")
_MAX_SMALL = 16 * 1024 * 1024
"""Bytes of a JSON or text file beside the weights."""


def list_names(path: Path) -> list[str]:
    """Return the names of the members of a zip; raises BadWeights."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise BadWeights(f"The zip is damaged ({error}). Pack it again.") from error


def find_weights(top: Path) -> list[Path]:
    """Return the files of weights in a folder, only the safetensors if there are any."""
    found = sorted(path for path in top.iterdir() if path.suffix in _WEIGHTS and path.is_file())
    return [path for path in found if path.suffix == ".safetensors"] or found


def read_tensors(path: Path) -> ModelFile:
    """Return the tensors in a safetensors or PyTorch file inside a folder; raises BadWeights."""
    with path.open("rb") as file:
        head = file.read(9)
    if head[8:9] == b"{":
        return ModelFile(sets={"": tensors.read_safetensors(path)})
    return tensors.read_checkpoint(path)


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; raises BadWeights naming the file."""
    try:
        value = json.loads(read_bytes(path).decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise BadWeights(f"{path.name} is not valid JSON ({error}).") from None
    if not isinstance(value, dict):
        raise BadWeights(f"{path.name} must hold a JSON object.")
    return value


def read_bytes(path: Path) -> bytes:
    """Return the contents of a small file; raises BadWeights if it is not small."""
    if path.stat().st_size > _MAX_SMALL:
        raise BadWeights(f"{path.name} has more than {_MAX_SMALL} bytes.")
    return path.read_bytes()


def labels_of(id2label: Any, name: str) -> tuple[str, ...]:
    """Return the labels of a mapping from index to label, or of a list; raises BadWeights naming the file."""
    if isinstance(id2label, Sequence) and not isinstance(id2label, str):
        return tuple(map(str, id2label))
    try:
        by_index = {int(index): str(label) for index, label in id2label.items()}
        return tuple(by_index[index] for index in range(len(by_index)))
    except (AttributeError, KeyError, ValueError, TypeError):
        raise BadWeights(f"The labels in {name} must be numbered from 0 without gaps.") from None
