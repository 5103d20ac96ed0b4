"""Reading of the files in a folder of a model."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shared.domain import labels as label_files
from shared.domain.models import ProblemType
from shared.domain.sizes import exactly
from shared.errors import BadOption, BadWeights
from worker.model_files import tensors, zips
from worker.model_files.model_file import ModelFile

_WEIGHTS = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".onnx")
_MAX_SMALL = 16 * 1024 * 1024
"""Bytes of a JSON or text file beside the weights."""


def list_names(path: Path) -> list[str]:
    """Return the names of the members of a zip; raises BadWeights."""
    try:
        with zips.opened(path) as archive:
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
        raise BadWeights(f"{path.name} has more than {exactly(_MAX_SMALL)}.")
    return path.read_bytes()


def labels_of(values: Any, name: str) -> tuple[str, ...]:
    """Return the labels of a mapping from index to label, or of a list; raises BadWeights naming file and entry.

    Labels may repeat: published lists have the same name for two classes.
    """
    if not isinstance(values, (Mapping, list, tuple)):
        raise BadWeights(f"The labels in {name} must be a list, or an object of index to label.")
    listed = _in_order(values, name) if isinstance(values, Mapping) else list(values)
    for number, label in enumerate(listed, 1):
        if not isinstance(label, (str, int)) or isinstance(label, bool):
            raise BadWeights(f"The labels in {name} must be texts, but entry {number} is {_kind(label)}.")
    labels = tuple(map(str, listed))
    try:
        label_files.check(labels, name, "entry", doubles=True)
    except BadOption as error:
        raise BadWeights(f"The labels beside the weights cannot be used: {error.message}.") from None
    return labels


def read_labels(path: Path) -> tuple[str, ...]:
    """Return the labels of a file of labels in a folder; raises BadWeights naming file and line."""
    try:
        return label_files.parse(read_bytes(path), path.name)
    except BadOption as error:
        raise BadWeights(f"The labels beside the weights cannot be used: {error.message}.") from None


def _in_order(by_index: Mapping[Any, object], name: str) -> list[object]:
    try:
        numbered = {int(index): label for index, label in by_index.items()}
        return [numbered[index] for index in range(len(by_index))]
    except (KeyError, ValueError, TypeError, OverflowError):
        raise BadWeights(f"The labels in {name} must be numbered from 0 without gaps.") from None


def _kind(value: object) -> str:
    """Return the kind of a value in the words of JSON."""
    names = {"NoneType": "null", "dict": "an object", "list": "a list", "bool": "true or false"}
    return names.get(type(value).__name__, f"a {type(value).__name__}")


def problem_type_of(config: Mapping[str, Any]) -> str:
    """Return the problem type in a config.json, or nothing; raises BadWeights for another one than inferq has."""
    kind = config.get("problem_type") or ""
    if kind == "regression":
        raise BadWeights("The problem_type of the model is regression: it answers with numbers, not with labels.")
    if kind and kind not in list(ProblemType):
        raise BadWeights(
            f"The problem_type in config.json must be {' or '.join(ProblemType)}, not {str(kind)[:_SHOWN]!r}."
        )
    return str(kind)


_SHOWN = 100
"""Characters of a wrong value that an error shows."""
