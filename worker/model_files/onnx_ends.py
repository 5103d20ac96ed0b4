"""The ends of an ONNX graph: the pictures that go in, and the answer that comes out, with the layers before it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import onnx

from shared.domain.preprocessing import MAX_SIDE, Size, as_size
from shared.errors import BadWeights

_TYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64"}
_PASSED = {"Identity", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Dropout"}
"""Operators after which the numbers are the same."""
_QUANTISED = {"QuantizeLinear", "DequantizeLinear"}
"""Operators that round numbers to steps, meant for scores from 0 to 1: they are passed over with the activation."""
_MAX_BATCH = 256
"""Pictures that a graph may take at once: each batch is filled up to that number."""
ACTIVATIONS = ("Softmax", "LogSoftmax", "Sigmoid")
_LAYERS = {"Gemm", "MatMul", "Conv", "FusedGemm", "FusedMatMul", "FusedConv"}
_KEEP_ONE = (
    "python -c \"import onnx.utils; onnx.utils.extract_model('FILE', 'one.onnx', ['INPUT'], ['OUTPUT'])\""
)  # fmt: skip


class PictureInput(NamedTuple):
    """The input of a graph."""

    name: str
    layout: str
    """NCHW or NHWC."""
    type: str
    """As torch and NumPy name it."""
    batch: int
    """0 for any number."""
    channels: int
    size: Size | None
    """None for pictures of any size."""


class Activation(NamedTuple):
    """What turns logits into scores, at the end of a graph."""

    kind: str
    """One of ACTIVATIONS."""
    tensors: tuple[str, ...]
    """The outputs of the nodes to pass over."""


def find_input(inputs: Sequence[Any]) -> PictureInput:
    """Return the input, from ONNX Runtime's list; raises BadWeights unless it is one for pictures."""
    if len(inputs) != 1:
        raise BadWeights(
            f"The ONNX graph must have one input, for pictures, not {len(inputs)}: {_listed(inputs)}. Export the image "
            "classifier alone."
        )
    (given,) = inputs
    shape = [side if isinstance(side, int) and side > 0 else 0 for side in given.shape]
    shown = f"{given.name} {_shape(given)}"
    if len(shape) != 4:
        raise BadWeights(f"The input of the ONNX graph is no batch of pictures: {shown} has not four dimensions.")
    if given.type not in _TYPES:
        kind = given.type.removeprefix("tensor(").removesuffix(")")
        raise BadWeights(
            f"The input of the ONNX graph takes {kind}, and inferq gives floating point numbers. Export the network "
            "with a float32 input; inside it may be quantised."
        )
    layout = "NCHW" if shape[1] in (1, 3) else "NHWC"
    channels, sides = (shape[1], shape[2:]) if layout == "NCHW" else (shape[3], shape[1:3])
    if channels not in (1, 3):
        raise BadWeights(
            f"The input of the ONNX graph is no picture: {shown} has neither 1 nor 3 channels, in its second or last "
            "dimension. Export it with a fixed number of channels."
        )
    if bool(sides[0]) != bool(sides[1]):
        raise BadWeights(f"Only one side of the pictures is fixed in {shown}; export it with both fixed, or none.")
    if max(sides) > MAX_SIDE or shape[0] > _MAX_BATCH:
        raise BadWeights(
            f"The input of the ONNX graph is too large: {shown} is more than {_MAX_BATCH} pictures at once, or more "
            f"than {MAX_SIDE} pixels on a side. Export it with a dynamic batch, or for smaller pictures."
        )
    return PictureInput(
        given.name, layout, _TYPES[given.type], shape[0], channels, as_size(*sides) if all(sides) else None
    )


def find_answer(outputs: Sequence[Any]) -> str:
    """Return the name of the output (batch, classes), from ONNX Runtime's list; raises BadWeights if it is not clear.

    A single output is taken without a shape as well: whether it is one shows when the graph runs.
    """
    numbers = [each for each in outputs if each.type in _TYPES]
    fitting = [each for each in numbers if _is_answer(each.shape)]
    if len(fitting) == 1:
        return str(fitting[0].name)
    if len(outputs) == 1 and len(numbers) == 1 and not numbers[0].shape:
        return str(numbers[0].name)
    if not numbers and any(each.type.startswith("seq(") for each in outputs):
        raise BadWeights(
            "The ONNX graph answers with a sequence of dictionaries (ZipMap), not with numbers. Convert it without: "
            "skl2onnx.to_onnx(..., options={'zipmap': False})"
        )
    what = "several outputs (batch, classes)" if fitting else "no output (batch, classes)"
    raise BadWeights(
        f"The ONNX graph has {what}; its outputs are {_listed(outputs)}. "
        + (f"Keep the one with the logits: {_KEEP_ONE}" if fitting else "inferq takes image classifiers only.")
    )


def _is_answer(shape: Sequence[Any]) -> bool:
    return len(shape) == 2 or (len(shape) == 4 and list(shape[2:]) == [1, 1])


def _listed(values: Sequence[Any]) -> str:
    return ", ".join(f"{each.name} {_shape(each)}" for each in values[:10]) or "none"


def _shape(value: Any) -> str:
    kind = value.type.removeprefix("tensor(").removesuffix(")")
    return f"({', '.join(str(side) for side in value.shape)}) of {kind}"


def find_activation(graph: onnx.GraphProto, answer: str) -> Activation | None:
    """Return the softmax or sigmoid before an output, also with conversions and new shapes after it; else None."""
    producers = _producers(graph)
    passed: list[str] = []
    while (node := producers.get(answer)) is not None:
        if node.op_type in ACTIVATIONS:
            return Activation(node.op_type, (*passed, node.output[0]))
        if node.op_type in _QUANTISED:
            passed.append(node.output[0])
        elif node.op_type not in _PASSED:
            return None
        answer = node.input[0]
    return None


def find_features(graph: onnx.GraphProto, answer: str, pictures: str) -> str:
    """Return the tensor that enters the last layer with weights before an output; empty if there is none.

    A multiplication of two tensors that both come from the pictures, as in attention, is no such layer.
    """
    producers = _producers(graph)
    before = {id(node) for node in _ancestors(producers, answer)}
    for node in reversed(graph.node):
        kind = node.op_type
        if id(node) not in before or not any(word in kind for word in ("Gemm", "MatMul", "Conv")):
            continue
        if len(node.input) > 1 and _comes_from(producers, node.input[1], pictures):
            continue
        return str(node.input[0]) if kind in _LAYERS else ""
    return ""


def _producers(graph: onnx.GraphProto) -> dict[str, onnx.NodeProto]:
    return {name: node for node in graph.node for name in node.output if name}


def _ancestors(producers: dict[str, onnx.NodeProto], tensor: str) -> Iterator[onnx.NodeProto]:
    """Yield the nodes that a tensor is computed by, each once."""
    seen: set[str] = set()
    left = [tensor]
    while left:
        name = left.pop()
        node = producers.get(name)
        if name in seen or node is None:
            continue
        seen.update(node.output)
        yield node
        left += node.input


def _comes_from(producers: dict[str, onnx.NodeProto], tensor: str, source: str) -> bool:
    return tensor == source or any(source in node.input for node in _ancestors(producers, tensor))


def is_reduced(graph: onnx.GraphProto) -> bool:
    """Return True if the graph computes with half precision or whole numbers, whose results differ between machines."""
    halves = (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)
    quantised = any("Quantize" in node.op_type or "QLinear" in node.op_type or "Integer" in node.op_type
                    for node in graph.node)  # fmt: skip
    return quantised or any(tensor.data_type in halves for tensor in graph.initializer)
