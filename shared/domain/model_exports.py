"""Exports of model versions: the files of one, its description, and how that gets into an ONNX file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from shared.domain.models import ModelVersion
from shared.domain.preprocessing import to_values

FORMAT_VERSION = 1
DESCRIPTION = "inferq.json"
"""The file of an export that says what the weights are; inside of an ONNX file it is the metadata METADATA_KEY."""
METADATA_KEY = "inferq"
LABELS = "labels.txt"
EVIDENCE = "evidence.json"
EXAMPLE = "example.png"


class ExportFormat(StrEnum):
    """The format of the weights in an export."""

    SAFETENSORS = "safetensors"
    ONNX = "onnx"

    @property
    def weights_name(self) -> str:
        """The file of the weights in an export."""
        return f"model.{self.value}"


def stored_format(version: ModelVersion) -> ExportFormat:
    """Return the format of a READY version's stored weights."""
    return ExportFormat.ONNX if version.weights.endswith(".onnx") else ExportFormat.SAFETENSORS


def conversion_key(version_id: str) -> str:
    """Return the key of a version's weights, converted to ONNX."""
    return f"exports/{version_id}.onnx"


def failure_key(version_id: str) -> str:
    """Return the key of the reason for which the weights could not be converted; the next request removes it."""
    return f"exports/{version_id}.failed"


def describe(version: ModelVersion) -> dict[str, Any]:
    """Return what an import has to know about the weights of a READY version, as JSON holds it."""
    return {
        "format": FORMAT_VERSION,
        "name": version.name,
        "version": version.version,
        "family": version.family,
        "architecture": version.architecture,
        "config": dict(version.config),
        "labels": list(version.labels),
        "problem_type": version.problem_type.value,
        "thresholds": list(version.thresholds),
        "preprocessing": to_values(version.preprocessing) if version.preprocessing else {},
        "checksum": version.checksum,
        "example": {"picture": EXAMPLE, "logits": list(version.example.logits)} if version.example else {},
    }


def labels_text(labels: Sequence[str]) -> str:
    """Return the labels one per line; as JSON if that would not give them back."""
    if any(label != label.strip() or len(label.splitlines()) != 1 for label in labels):
        return json.dumps(list(labels), ensure_ascii=False, indent=1) + "\n"
    return "".join(f"{label}\n" for label in labels)


def metadata_entry(description: dict[str, Any]) -> bytes:
    """Return bytes that add the description to the metadata of an ONNX file when they are appended to it.

    A file of protobuf is a sequence of fields, and a repeated field may go on anywhere in it. So a file of gigabytes is
    passed through as it is read, and the API needs no `onnx`.
    """
    pair = _field(1, METADATA_KEY.encode()) + _field(2, json.dumps(description, ensure_ascii=False).encode())
    return _field(_METADATA_PROPS, pair)


_METADATA_PROPS = 14
"""The number of the field `metadata_props` in ONNX's ModelProto."""


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    parts = []
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])
