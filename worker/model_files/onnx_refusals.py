"""ONNX files that cannot be taken are refused here, with what to do instead."""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from shared.errors import BadWeights

_DOMAINS = {"", "ai.onnx", "ai.onnx.ml", "com.microsoft"}
"""The sets of operators that ONNX Runtime itself has."""
_ENDLESS = "Loop"
"""The operator that may run without end; a classifier has no use for it."""
ONE_FILE = "python -c \"import onnx; onnx.save(onnx.load('FILE'), 'one.onnx')\""


def check(model: onnx.ModelProto) -> None:
    """Raise BadWeights for data outside of the file, foreign operators and loops.

    `onnx.checker` was rejected: it refuses files that ONNX Runtime runs, such as those without the shape of an output.
    """
    graphs = list(_graphs(model.graph))
    if any(_is_outside(tensor) for graph in graphs for tensor in _tensors(graph)):
        raise BadWeights(
            "The weights of the ONNX file lie in a second file. Save them as one file, in the folder where both are, "
            f"and import that: {ONE_FILE}"
        )
    nodes = [node for graph in graphs for node in graph.node]
    if foreign := sorted({f"{node.domain}.{node.op_type}" for node in nodes if node.domain not in _DOMAINS}):
        raise BadWeights(
            f"The ONNX file needs operators that ONNX Runtime does not have: {', '.join(foreign[:5])}. Export it with "
            "the operators of ONNX alone."
        )
    if any(node.op_type == _ENDLESS for node in nodes):
        raise BadWeights("The ONNX file contains a loop, which may never end. Export the network without it.")


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """Yield a graph and those inside of its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                if inner.node or inner.initializer or inner.sparse_initializer:
                    yield from _graphs(inner)


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Yield all constants of a graph, without those inside of its nodes."""
    attributes = [attribute for node in graph.node for attribute in node.attribute]
    sparse = [*graph.sparse_initializer]
    for attribute in attributes:
        yield attribute.t
        yield from attribute.tensors
        sparse += [attribute.sparse_tensor, *attribute.sparse_tensors]
    for each in sparse:
        yield from (each.values, each.indices)
    yield from graph.initializer


def _is_outside(tensor: onnx.TensorProto) -> bool:
    return tensor.data_location == onnx.TensorProto.EXTERNAL or bool(tensor.external_data)
