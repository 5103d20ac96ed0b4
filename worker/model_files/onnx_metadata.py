"""What exporters write into ONNX files beside the network: Ultralytics, and inferq itself."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from typing import Any

import onnx

from shared.domain.model_exports import METADATA_KEY
from shared.domain.preprocessing import MAX_SIDE, Preprocessing, Size, as_size
from shared.errors import BadWeights
from worker.model_files import descriptions, files
from worker.model_files.model_file import ModelFile

_CLASSIFY = "classify"


def read(model: onnx.ModelProto) -> ModelFile:
    """Return what the metadata say, without the graph; empty if they say nothing that is known. Raises BadWeights."""
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    if METADATA_KEY in metadata:
        return descriptions.read(_parse_json(metadata[METADATA_KEY]), f"the metadata {METADATA_KEY!r}")
    if "names" in metadata and "task" in metadata:
        return _read_ultralytics(metadata)
    return ModelFile()


def without_description(model: onnx.ModelProto) -> onnx.ModelProto:
    """Remove inferq's own description, which an export of the imported version adds anew: no key may occur twice."""
    kept = [entry for entry in model.metadata_props if entry.key != METADATA_KEY]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    return model


def _parse_json(text: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadWeights(f"The metadata {METADATA_KEY!r} of the ONNX file are not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise BadWeights(f"The metadata {METADATA_KEY!r} of the ONNX file must be a JSON object.")
    return value


def _read_ultralytics(metadata: Mapping[str, str]) -> ModelFile:
    """Read labels and preprocessing as Ultralytics writes and uses them: Python literals, `classify_transforms`."""
    if metadata["task"] != _CLASSIFY:
        raise BadWeights(
            f"The ONNX file is a model of Ultralytics for the task {metadata['task']!r}; only {_CLASSIFY!r} gives "
            "labels for whole pictures."
        )
    size = _size(_literal(metadata, "imgsz"))
    preprocessing = Preprocessing(
        resize=size,
        crop=size,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        crop_mode="center" if isinstance(size, int) else "squash",  # it distorts pictures for a rectangle
    )
    labels = files.labels_of(_literal(metadata, "names"), "the metadata of Ultralytics")
    return ModelFile(labels=labels, preprocessing=preprocessing, origin="the metadata of Ultralytics")


def _literal(metadata: Mapping[str, str], key: str) -> Any:
    try:
        return ast.literal_eval(metadata[key])
    except (KeyError, ValueError, SyntaxError, RecursionError, MemoryError):
        raise BadWeights(
            f"The metadata {key!r} of Ultralytics are missing or damaged; export the model again."
        ) from None


def _size(value: Any) -> Size:
    sides = list(value) if isinstance(value, (list, tuple)) else [value]
    if len(sides) not in (1, 2) or not all(isinstance(side, int) and 0 < side <= MAX_SIDE for side in sides):
        raise BadWeights(f"The metadata 'imgsz' of Ultralytics are no size from 1 to {MAX_SIDE}: {value!r}.")
    return as_size(sides[0], sides[-1])
