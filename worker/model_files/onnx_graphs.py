"""ONNX files: a whole network with its weights, and the metadata that exporters write into it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx

from shared.domain.models import ONNX, ProblemType
from shared.errors import BadWeights
from worker.families.onnx import open_session, parse
from worker.model_files import onnx_ends, onnx_metadata, onnx_refusals, onnx_trial
from worker.model_files.model_file import ModelFile

_NUMBERS, _TEXTS, _PARTS = {1, 5}, {2, 3, 4, 6}, {7, 8, 14, 20, 25}
"""The fields of ONNX's ModelProto: numbers, texts, and parts with fields of their own."""
_MAX_BYTES = 2**31 - 1
"""What protobuf can parse."""
_MAX_TEXT = 100
"""Characters of an architecture."""


def is_onnx(head: bytes) -> bool:
    """Return True for bytes that begin as an ONNX file does: the fields of a ModelProto, up to the end of the bytes.

    ONNX has no magic number. A SavedModel and a model of Core ML begin alike, but have parts where ONNX has texts.
    """
    at = 0
    if head[:1] != b"\x08":  # the version of the format, which every writer puts first
        return False
    while at < len(head):
        tag, at = _varint(head, at)
        number, wire = tag >> 3, tag & 7
        size, at = _varint(head, at)
        if number in _NUMBERS and wire == 0:
            continue
        if wire != 2 or number not in _TEXTS | _PARTS:
            return False
        if number in _TEXTS and not _is_text(head[at : at + size]):
            return False
        at += size
    return True


def _varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while at < len(data):
        byte = data[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            break
    return number, at


def _is_text(data: bytes) -> bool:
    return all(byte >= 0x20 or byte in b"\t\r\n" for byte in data)


def read(path: Path) -> ModelFile:
    """Return the graph with what its metadata say; raises BadWeights."""
    if path.stat().st_size > _MAX_BYTES:
        raise BadWeights("The ONNX file has more than 2 GiB, which its format cannot hold.")
    data = path.read_bytes()
    model = parse(data)
    onnx_refusals.check(model)
    said = onnx_metadata.read(model)
    session = open_session(data)
    pictures = onnx_ends.find_input(session.get_inputs())
    answer = onnx_ends.find_answer(session.get_outputs())
    del session  # its copy of the weights is not needed while the graph is tried
    activation = onnx_ends.find_activation(model.graph, answer)
    features = onnx_ends.find_features(model.graph, answer, pictures.name)
    config = {
        "input": pictures.name,
        "layout": pictures.layout,
        "type": pictures.type,
        "batch": pictures.batch,
        "output": answer,
        "reduced": onnx_ends.is_reduced(model.graph),
    }
    wanted = pictures.size or (said.preprocessing.crop if said.preprocessing else None)
    config = onnx_trial.complete(data, config, activation, features, wanted, pictures.channels)
    sigmoid = activation is not None and activation.kind == "Sigmoid"
    return replace(
        said,
        graph=path,
        family=ONNX,
        architecture=said.architecture or _architecture(model),
        config=config,
        problem_type=said.problem_type or (ProblemType.MULTI_LABEL.value if sigmoid else ""),
        input_size=pictures.size,
        mode="L" if pictures.channels == 1 else "RGB",
    )


def write(path: Path, target: Path) -> None:
    """Copy an ONNX file, without the description that an export of inferq has added."""
    model = onnx.load_model(path, load_external_data=False)
    target.write_bytes(path.read_bytes())
    if len(model.metadata_props) != len(onnx_metadata.without_description(model).metadata_props):
        target.write_bytes(model.SerializeToString())


def _architecture(model: onnx.ModelProto) -> str:
    """Return the name of the graph or of its maker, for people."""
    names = (model.graph.name, model.producer_name)
    usual = ("main_graph", "torch_jit", "torch-jit-export", "graph", "g")
    chosen = next((name for name in names if name.isprintable() and name.strip() and name not in usual), "onnx")
    return chosen.strip()[:_MAX_TEXT]
