"""Tiny ONNX networks with random weights, in the shapes that exporters write them in."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

CLASSES = 4
LABELS = ("ant", "bee", "cat", "dog")
Shape = Sequence[int | str | None]


def make(
    *,
    tail: Sequence[onnx.NodeProto] = (),
    shape: Shape = ("batch", 3, "height", "width"),
    kind: type[np.floating[Any]] | type[np.uint8] = np.float32,
    nhwc: bool = False,
    channels: int = 3,
    outputs: Mapping[str, Shape] | None = None,
    metadata: Mapping[str, str] | None = None,
    opset: int = 17,
    producer: str = "tests",
    others: Mapping[str, Any] | None = None,
    inputs: Sequence[str] = (),
) -> onnx.ModelProto:
    """Return a convolution, an average and a linear layer, whose answer `logits` the nodes of `tail` go on from."""
    floating: Any = np.float16 if kind is np.float16 else np.float32
    rng = np.random.default_rng(3)
    weights = {
        "kernel": rng.normal(0, 0.3, (8, channels, 3, 3)).astype(floating),
        "matrix": rng.normal(0, 2, (CLASSES, 8)).astype(floating),
        "bias": rng.normal(0, 1, CLASSES).astype(floating),
    }
    weights |= {name: np.asarray(value) for name, value in (others or {}).items()}
    number = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    converted = "pictures" if kind is floating else "converted"
    first = [node("Cast", "pictures", converted, to=TensorProto.FLOAT)] if converted != "pictures" else []
    first += [node("Transpose", converted, "planes", perm=[0, 3, 1, 2])] if nhwc else []
    nodes = [
        *first,
        helper.make_node("Conv", ["planes" if nhwc else converted, "kernel"], ["convolved"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["convolved"], ["positive"]),
        helper.make_node("GlobalAveragePool", ["positive"], ["averaged"]),
        helper.make_node("Flatten", ["averaged"], ["flat"]),
        helper.make_node("Gemm", ["flat", "matrix", "bias"], ["logits"], transB=1),
        *tail,
    ]
    answers = outputs or {tail[-1].output[0] if tail else "logits": ("batch", CLASSES)}
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("pictures", number, shape)]
        + [helper.make_tensor_value_info(name, TensorProto.FLOAT, ("batch", 2)) for name in inputs],
        [helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(floating)), its)
         for name, its in answers.items()],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )  # fmt: skip
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10, producer_name=producer
    )
    helper.set_model_props(model, dict(metadata or {}))
    return model


def node(kind: str, source: str, target: str, **attributes: Any) -> onnx.NodeProto:
    """Return a node with one input and one output."""
    return helper.make_node(kind, [source], [target], **attributes)


def save(model: onnx.ModelProto, folder: Path, name: str = "model.onnx") -> Path:
    """Write the model into the folder; returns the file."""
    path = folder / name
    path.write_bytes(model.SerializeToString())
    return path


def answer(model: onnx.ModelProto, pictures: np.ndarray[Any, Any], output: str | None = None) -> np.ndarray[Any, Any]:
    """Return ONNX Runtime's own answer."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: np.ndarray[Any, Any] = session.run([output] if output else None, {"pictures": pictures})[0]
    return found


def ultralytics(**changes: Any) -> dict[str, str]:
    """Return metadata as Ultralytics writes them: Python literals."""
    known = {
        "description": "Ultralytics YOLO11n-cls model", "author": "Ultralytics", "stride": 1, "task": "classify",
        "batch": 1, "imgsz": [32, 32], "names": dict(enumerate(LABELS)),
    }  # fmt: skip
    return {key: str(value) for key, value in (known | changes).items()}


def described(**values: Any) -> dict[str, str]:
    """Return the metadata of an export of inferq."""
    known = {
        "format": 1, "family": "torchvision", "architecture": "squeezenet1_1", "config": {}, "labels": LABELS,
        "problem_type": "single_label_classification", "thresholds": [],
        "preprocessing": {"resize": 40, "crop": 32, "mean": [0.5] * 3, "std": [0.25] * 3},
    }  # fmt: skip
    return {"inferq": json.dumps(known | values)}
