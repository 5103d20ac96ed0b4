"""Folders that `inferq models export` writes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from shared.domain.model_exports import DESCRIPTION, ExportFormat
from shared.errors import BadWeights
from worker import families
from worker.model_files import descriptions, files, onnx_graphs
from worker.model_files.model_file import ModelFile


def read(top: Path) -> ModelFile:
    """Return the exported version; raises BadWeights.

    The labels are those of inferq.json: labels.txt is a copy for other programs, which cannot hold every label.
    """
    described = descriptions.read(files.read_json(top / DESCRIPTION), DESCRIPTION)
    graph, tensors = (top / kind.weights_name for kind in (ExportFormat.ONNX, ExportFormat.SAFETENSORS))
    if graph.is_file():
        found = onnx_graphs.read(graph)
        return replace(described, graph=graph, family=found.family, config=found.config, input_size=found.input_size,
                       mode=found.mode)  # fmt: skip
    if not tensors.is_file():
        raise BadWeights(f"The export holds neither {tensors.name} nor {graph.name}. Pack the whole folder.")
    if described.family not in families.names() or families.load(described.family).FORMAT != "safetensors":
        raise BadWeights(f"{DESCRIPTION} names the family {described.family!r}, which has no tensors.")
    return replace(described, sets=files.read_tensors(tensors).sets, normalised=True)
