"""The description that an export of inferq carries, beside its weights or inside of an ONNX file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.domain.model_exports import FORMAT_VERSION
from shared.domain.models import ProblemType
from shared.domain.preprocessing import parse_request
from shared.errors import BadOption, BadWeights
from worker.model_files import files
from worker.model_files.model_file import ModelFile


def read(values: Mapping[str, Any], where: str) -> ModelFile:
    """Return what a description says, without weights; raises BadWeights naming the file or metadata, `where`."""
    if values.get("format") != FORMAT_VERSION:
        raise BadWeights(
            f"{where} has the format {values.get('format')!r}, and this release of inferq reads {FORMAT_VERSION}."
        )
    try:
        request = parse_request(dict(values["preprocessing"]), {})
        preprocessing = request.apply(None) if request else None
        return ModelFile(
            family=str(values["family"]),
            architecture=str(values["architecture"]),
            config=dict(values["config"]),
            labels=files.labels_of(values["labels"], where),
            preprocessing=preprocessing,
            origin=where,
            problem_type=ProblemType(values["problem_type"]).value,
            thresholds=tuple(map(float, values["thresholds"])),
        )
    except (KeyError, TypeError, ValueError, BadOption) as error:
        raise BadWeights(f"{where} is not as an export of inferq writes it: {error}") from None
