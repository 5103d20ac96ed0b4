"""ONNX files: which are taken, which are refused and why, and that their scores are ONNX Runtime's own."""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from shared.domain.models import ImportOptions, ModelExample, ModelState, ModelVersion, ProblemType
from shared.domain.preprocessing import Preprocessing, PreprocessingRequest
from shared.errors import BadOption, BadRequest, BadWeights
from shared.settings import Settings
from tests.unit import graphs
from tests.unit.graphs import LABELS, node
from worker import model_files
from worker.engine import Engine
from worker.examination import Examined, Wanted, examine, example
from worker.families.onnx import Graph, open_graph
from worker.model_files.model_file import ModelFile
from worker.model_files.onnx_graphs import is_onnx

FULL = PreprocessingRequest(values={"resize": 40, "crop": 32, "mean": [0.5], "std": [0.25]})
PICTURES = np.random.default_rng(1).normal(0, 1, (5, 3, 32, 32)).astype(np.float32)


def read(model: onnx.ModelProto, folder: Path) -> ModelFile:
    unpacked = folder / "unpacked"
    unpacked.mkdir(exist_ok=True)
    return model_files.read(graphs.save(model, folder), unpacked)


def opened(model: onnx.ModelProto, folder: Path) -> Graph:
    file = read(model, folder)
    assert file.graph is not None
    return open_graph(file.graph.read_bytes(), file.config)


def scored(model: onnx.ModelProto, folder: Path, pictures: np.ndarray[Any, Any] = PICTURES) -> np.ndarray[Any, Any]:
    """Return softmax of the logits that inferq takes from the graph."""
    scores: torch.Tensor = opened(model, folder)(torch.from_numpy(pictures)).softmax(dim=1)
    return scores.numpy()


def examined(path: Path, folder: Path, request: PreprocessingRequest | None = FULL, **wanted: Any) -> Examined:
    return examine(path, folder, Wanted(preprocessing=request, labels=wanted.pop("labels", LABELS), **wanted))


# recognising


def test_an_onnx_file_is_recognised_by_its_first_bytes() -> None:
    for producer in ("pytorch", "", "tf2onnx 1.16"):
        assert is_onnx(graphs.make(producer=producer).SerializeToString()[:64])
    other = {"a pickle": b"\x80\x02}q\x00.", "a zip": b"PK\x03\x04",
             "a SavedModel": b"\x08\x01\x12\xf0\x01\x0a\x02\x08\x01",
             "Core ML": b"\x08\x04\x12\x0c\x0a\x05image\x12\x03\x0a\x01a", "text": b"hello world"}  # fmt: skip
    assert [name for name, head in other.items() if is_onnx(head)] == []


def test_a_file_that_breaks_off_says_so(tmp_path: Path) -> None:
    path = tmp_path / "cut"
    path.write_bytes(graphs.make().SerializeToString()[:-300])
    with pytest.raises(BadWeights, match="cannot be parsed"):
        model_files.read(path, tmp_path)


def test_a_graph_in_a_zip_takes_the_labels_beside_it(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "packed.zip", "w") as packed:
        packed.writestr("it/model.onnx", graphs.make().SerializeToString())
        packed.writestr("it/labels.txt", "\n".join(LABELS))
    (tmp_path / "unpacked").mkdir()
    file = model_files.read(tmp_path / "packed.zip", tmp_path / "unpacked")
    assert (file.labels, file.family, file.architecture) == (LABELS, "onnx", "tiny")


# refusals


def outside(folder: Path) -> onnx.ModelProto:
    model = graphs.make()
    onnx.save(model, folder / "big.onnx", save_as_external_data=True, location="big.data", size_threshold=0)
    return onnx.load(folder / "big.onnx", load_external_data=False)


def looping() -> onnx.ModelProto:
    body = helper.make_graph(
        [node("Identity", "on", "on_out"), node("Identity", "value", "value_out")],
        "body",
        [helper.make_tensor_value_info("i", TensorProto.INT64, []),
         helper.make_tensor_value_info("on", TensorProto.BOOL, []),
         helper.make_tensor_value_info("value", TensorProto.FLOAT, None)],
        [helper.make_tensor_value_info("on_out", TensorProto.BOOL, []),
         helper.make_tensor_value_info("value_out", TensorProto.FLOAT, None)],
    )  # fmt: skip
    loop = helper.make_node("Loop", ["times", "", "logits"], ["answer"], body=body)
    return graphs.make(tail=[loop], others={"times": np.int64(2**62)})


def flat_input() -> onnx.ModelProto:
    given = helper.make_tensor_value_info("pictures", TensorProto.FLOAT, ("batch", 12))
    graph = helper.make_graph([helper.make_node("MatMul", ["pictures", "m"], ["logits"])], "flat", [given],
                              [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ("batch", 4))],
                              [numpy_helper.from_array(np.zeros((12, 4), np.float32), "m")])  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


REFUSED: dict[str, tuple[Any, str]] = {
    "a custom operator": (
        lambda: graphs.make(tail=[helper.make_node("Magic", ["logits"], ["answer"], domain="my.company")]),
        r"my\.company\.Magic",
    ),
    "an opset of the future": (lambda: graphs.make(opset=99), "opset that ONNX Runtime .* opset 20"),
    "two inputs": (
        lambda: graphs.make(inputs=["size"], tail=[helper.make_node("MatMul", ["size", "wide"], ["answer"])],
                            others={"wide": np.zeros((2, 4), np.float32)},
                            outputs={"answer": ("batch", 4), "logits": ("batch", 4)}),
        r"one input, for pictures, not 2: pictures .*size",
    ),
    "whole numbers": (
        lambda: graphs.make(kind=np.uint8, shape=("n", 3, 32, 32)),
        "takes uint8",
    ),
    "five channels": (lambda: graphs.make(channels=5, shape=("n", 5, 32, 32)), "neither 1 nor 3 channels"),
    "no picture": (flat_input, "has not four dimensions"),
    "two answers": (
        lambda: graphs.make(tail=[node("Relu", "logits", "again")],
                            outputs={"logits": ("batch", 4), "again": ("batch", 4)}),
        r"several outputs .*logits \(batch, 4\).*again.*extract_model",
    ),
    "a map": (
        lambda: graphs.make(tail=[node("Relu", "convolved", "mask")], outputs={"mask": ("batch", 8, "h", "w")}),
        r"no output \(batch, classes\).*mask",
    ),
    "a loop": (looping, "a loop"),
    "a detector of Ultralytics": (lambda: graphs.make(metadata=graphs.ultralytics(task="detect")), "'detect'"),
    "too many pictures": (lambda: graphs.make(shape=(100_000, 3, 32, 32)), "too large"),
    "too many pixels": (lambda: graphs.make(shape=("n", 3, 4096, 32)), "too large"),
    "a huge size of Ultralytics": (lambda: graphs.make(metadata=graphs.ultralytics(imgsz=10**6)), "no size"),
    "half of a size": (lambda: graphs.make(shape=("n", 3, 32, "width")), "Only one side"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_graph_that_cannot_serve_is_refused_with_what_is_wrong(case: str, tmp_path: Path) -> None:
    make, reason = REFUSED[case]
    with pytest.raises(BadWeights, match=f"(?s){reason}"):
        read(make(), tmp_path)


def test_weights_in_a_second_file_are_refused_with_the_command_that_joins_them(tmp_path: Path) -> None:
    with pytest.raises(BadWeights, match=r"second file.*onnx\.save\(onnx\.load"):
        read(outside(tmp_path), tmp_path)


def test_answers_as_dictionaries_are_refused(tmp_path: Path) -> None:
    zipped = helper.make_node("ZipMap", ["logits"], ["answer"], domain="ai.onnx.ml", classlabels_int64s=[0, 1, 2, 3])
    model = graphs.make(tail=[zipped])
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    element = helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    model.graph.output[0].CopyFrom(helper.make_value_info("answer", helper.make_sequence_type_proto(element)))
    with pytest.raises(BadWeights, match="ZipMap"):
        read(model, tmp_path)


# inputs


@pytest.mark.parametrize("batch", [1, 2, "batch"])
@pytest.mark.parametrize("sides", [(32, 32), ("height", "width")])
def test_any_number_of_pictures_is_run_whatever_batch_the_graph_has(batch: Any, sides: Any, tmp_path: Path) -> None:
    expected = graphs.answer(graphs.make(), PICTURES)
    model = graphs.make(shape=(batch, 3, *sides), outputs={"logits": (batch, 4)})
    graph = opened(model, tmp_path)
    assert (graph.config["batch"], graph.outputs) == (0 if batch == "batch" else batch, 4)
    np.testing.assert_allclose(graph(torch.from_numpy(PICTURES)).numpy(), expected, atol=1e-5)


def test_a_graph_that_takes_one_picture_though_it_says_any_number_is_run_one_by_one(tmp_path: Path) -> None:
    reshape = helper.make_node("Reshape", ["logits", "one"], ["answer"])
    model = graphs.make(tail=[reshape], others={"one": np.array([1, 4])})
    graph = opened(model, tmp_path)
    assert graph.config["batch"] == 1
    np.testing.assert_allclose(
        graph(torch.from_numpy(PICTURES)).numpy(), graphs.answer(graphs.make(), PICTURES), atol=1e-5
    )


@pytest.mark.parametrize("kind", [np.float32, np.float16, np.float64])
@pytest.mark.parametrize("nhwc", [False, True])
def test_inputs_of_each_type_and_layout_get_the_same_pictures(kind: Any, nhwc: bool, tmp_path: Path) -> None:
    shape = ("batch", "height", "width", 3) if nhwc else ("batch", 3, "height", "width")
    model = graphs.make(kind=kind, nhwc=nhwc, shape=shape)
    ordered = PICTURES.transpose(0, 2, 3, 1) if nhwc else PICTURES
    expected = graphs.answer(model, np.ascontiguousarray(ordered).astype(kind)).astype(np.float32)
    logits = opened(model, tmp_path)(torch.from_numpy(PICTURES))
    assert logits.dtype == torch.float32
    np.testing.assert_allclose(logits.numpy(), expected, atol=5e-3 if kind is np.float16 else 1e-5)


def test_the_crop_and_the_mode_of_a_fixed_input_need_not_be_given(tmp_path: Path) -> None:
    path = graphs.save(graphs.make(shape=("n", 1, 24, 32), channels=1), tmp_path)
    request = PreprocessingRequest(values={"resize": 40, "mean": [0.5], "std": [0.25]})
    found = examined(path, tmp_path, request)
    assert found.preprocessing == Preprocessing(40, (24, 32), (0.5,), (0.25,), mode="L")


def test_a_crop_that_the_graph_does_not_take_is_refused_with_both_sizes(tmp_path: Path) -> None:
    path = graphs.save(graphs.make(shape=("n", 3, 24, 24)), tmp_path)
    with pytest.raises(BadOption, match=r"24 x 24 pixels only, but .* 32 x 32"):
        examined(path, tmp_path)


def test_a_file_that_does_not_say_how_to_prepare_pictures_asks_for_it(tmp_path: Path) -> None:
    path = graphs.save(graphs.make(), tmp_path)
    with pytest.raises(BadOption, match="give `resize`"):
        examined(path, tmp_path, None)


# answers


def cast(source: str, target: str) -> onnx.NodeProto:
    return node("Cast", source, target, to=TensorProto.FLOAT)


TAILS = {
    "softmax": [node("Softmax", "logits", "scores", axis=1)],
    "softmax of the last axis": [node("Softmax", "logits", "scores")],
    "softmax, then an identity": [node("Softmax", "logits", "s"), node("Identity", "s", "scores")],
    "softmax, then conversions": [node("Softmax", "logits", "s"), cast("s", "c"), node("Flatten", "c", "scores")],
    "softmax of maps": [
        helper.make_node("Reshape", ["logits", "maps"], ["m"]), node("Softmax", "m", "s", axis=1),
        node("Flatten", "s", "scores"),
    ],
    "softmax by hand": [
        node("Exp", "logits", "e"), node("ReduceSum", "e", "sum", keepdims=1),
        helper.make_node("Div", ["e", "sum"], ["scores"]),
    ],
    "softmax in steps of a 255th": [
        node("Softmax", "logits", "s"), helper.make_node("QuantizeLinear", ["s", "step", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "step", "zero"], ["scores"]),
    ],
}  # fmt: skip
OTHERS = {"maps": np.array([-1, 4, 1, 1]), "step": np.float32(1 / 255), "zero": np.uint8(0)}


@pytest.mark.parametrize("tail", TAILS)
def test_scores_of_a_graph_that_ends_in_softmax_are_its_own(tail: str, tmp_path: Path) -> None:
    nodes = [onnx.NodeProto.FromString(each.SerializeToString()) for each in TAILS[tail]]
    if tail == "softmax by hand":
        nodes[1].input.append("classes")
    model = graphs.make(tail=nodes, others={**OTHERS, "classes": np.array([1])})
    own = graphs.answer(model, PICTURES)
    assert np.ptp(own) > 0.3  # scores that softmax twice would flatten
    np.testing.assert_allclose(scored(model, tmp_path), own, atol=1 / 255 if "steps" in tail else 1e-4)


def test_the_logits_before_a_softmax_come_out(tmp_path: Path) -> None:
    logits = graphs.answer(graphs.make(), PICTURES)
    for kind in ("Softmax", "LogSoftmax"):
        model = graphs.make(tail=[node(kind, "logits", "scores")])
        np.testing.assert_allclose(opened(model, tmp_path)(torch.from_numpy(PICTURES)).numpy(), logits, atol=1e-5)


def test_a_sigmoid_makes_a_model_of_several_labels(tmp_path: Path) -> None:
    model = graphs.make(tail=[node("Sigmoid", "logits", "s"), node("Identity", "s", "scores")])
    assert read(model, tmp_path).problem_type == ProblemType.MULTI_LABEL
    scores = torch.sigmoid(opened(model, tmp_path)(torch.from_numpy(PICTURES))).numpy()
    np.testing.assert_allclose(scores, graphs.answer(model, PICTURES), atol=1e-4)
    found = examined(graphs.save(model, tmp_path), tmp_path)
    assert (found.problem_type, found.thresholds) == (ProblemType.MULTI_LABEL, (0.5,))


def test_a_softmax_over_the_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadWeights, match=r"Softmax .* not over the classes"):
        read(graphs.make(tail=[node("Softmax", "logits", "scores", axis=0)]), tmp_path)


def test_of_several_outputs_the_one_with_a_row_of_classes_is_taken(tmp_path: Path) -> None:
    outputs = {"convolved": ("batch", 8, "h", "w"), "logits": ("batch", 4)}
    graph = opened(graphs.make(outputs=outputs), tmp_path)
    assert graph.config["output"] == "logits"


def test_a_quantised_graph_runs(tmp_path: Path) -> None:
    steps = [helper.make_node("QuantizeLinear", ["logits", "step", "zero"], ["q"]),
             helper.make_node("DequantizeLinear", ["q", "step", "zero"], ["answer"])]  # fmt: skip
    model = graphs.make(tail=steps, others={"step": np.float32(0.05), "zero": np.int8(0)})
    graph = opened(model, tmp_path)
    assert graph.config["reduced"]
    np.testing.assert_allclose(graph(torch.from_numpy(PICTURES)).numpy(), graphs.answer(model, PICTURES), atol=1e-5)


# features


def test_features_are_what_enters_the_last_layer(tmp_path: Path) -> None:
    model = graphs.make(tail=[node("Softmax", "logits", "scores")], outputs={"scores": ("batch", 4)})
    exposed = graphs.make(outputs={"flat": ("batch", 8)})
    found = opened(model, tmp_path).features(torch.from_numpy(PICTURES))
    np.testing.assert_allclose(found.numpy(), graphs.answer(exposed, PICTURES), atol=1e-5)


def test_features_that_are_maps_are_averaged(tmp_path: Path) -> None:
    tail = [helper.make_node("Conv", ["positive", "last"], ["maps"]), node("GlobalAveragePool", "maps", "means"),
            node("Flatten", "means", "scores")]  # fmt: skip
    last = np.random.default_rng(0).normal(0, 1, (4, 8, 1, 1)).astype(np.float32)
    model = graphs.make(tail=tail, others={"last": last})
    exposed = graphs.make(tail=tail, others={"last": last}, outputs={"positive": ("batch", 8, "h", "w")})
    found = opened(model, tmp_path).features(torch.from_numpy(PICTURES))
    np.testing.assert_allclose(found.numpy(), graphs.answer(exposed, PICTURES).mean((2, 3)), atol=1e-5)


def test_logits_and_features_of_one_pass_are_those_of_two_also_in_a_fixed_batch(tmp_path: Path) -> None:
    pictures = torch.from_numpy(PICTURES)
    for batch in ("batch", 2):
        model = graphs.make(tail=[node("Softmax", "logits", "scores")], outputs={"scores": (batch, 4)})
        graph = opened(model, tmp_path)
        apart = torch.cat([graph(pictures), graph.features(pictures)], dim=1)
        np.testing.assert_allclose(graph.both(pictures).numpy(), apart.numpy(), atol=1e-6)


def test_a_graph_without_a_last_layer_has_no_features(tmp_path: Path) -> None:
    model = graphs.make()
    for each in list(model.graph.node)[:1] + list(model.graph.node)[-1:]:
        model.graph.node.remove(each)
    model.graph.node[0].input[0] = "pictures"
    del model.graph.initializer[:]
    model.graph.output[0].name = "flat"
    file = read(model, tmp_path)
    assert "features" not in file.config
    assert not version(file.config).has_features
    with pytest.raises(BadRequest, match="no features"):
        opened(model, tmp_path).features(torch.from_numpy(PICTURES))
    with pytest.raises(BadRequest, match="no features"):
        opened(model, tmp_path).both(torch.from_numpy(PICTURES))


# metadata


def test_metadata_of_ultralytics_give_labels_and_preprocessing(tmp_path: Path) -> None:
    model = graphs.make(metadata=graphs.ultralytics(), tail=[node("Softmax", "logits", "output0")])
    found = examined(graphs.save(model, tmp_path), tmp_path, None, labels=())
    assert found.labels == LABELS
    assert found.preprocessing == Preprocessing(32, 32, (0.0,) * 3, (1.0,) * 3)
    assert (found.preset.name, found.preset.origin) == ("the metadata of Ultralytics", "included")


def test_metadata_are_never_run_as_code(tmp_path: Path) -> None:
    names = f"__import__('pathlib').Path({str(tmp_path / 'ran')!r}).touch()"
    with pytest.raises(BadWeights, match="'names'"):
        read(graphs.make(metadata=graphs.ultralytics(names=names)), tmp_path)
    assert not (tmp_path / "ran").exists()


def test_metadata_of_an_export_give_everything(tmp_path: Path) -> None:
    kind = ProblemType.MULTI_LABEL.value
    model = graphs.make(metadata=graphs.described(problem_type=kind, thresholds=[0.1, 0.2, 0.3, 0.4]))
    found = examined(graphs.save(model, tmp_path), tmp_path, None, labels=())
    assert (found.family, found.architecture, found.labels) == ("onnx", "squeezenet1_1", LABELS)
    assert (found.problem_type.value, found.thresholds) == (kind, (0.1, 0.2, 0.3, 0.4))
    assert found.preprocessing == Preprocessing(40, 32, (0.5,) * 3, (0.25,) * 3)
    assert "inferq" not in {entry.key for entry in onnx.load(found.path).metadata_props}


@pytest.mark.parametrize(
    "values", ['{"format": 2}', "[]", "{", json.dumps(json.loads(graphs.described()["inferq"]) | {"labels": 3})]
)
def test_damaged_metadata_of_an_export_are_refused(values: str, tmp_path: Path) -> None:
    with pytest.raises(BadWeights, match="inferq"):
        read(graphs.make(metadata={"inferq": values}), tmp_path)


# serving


def version(config: Any, **changes: Any) -> ModelVersion:
    known = ModelVersion("v", "t", "tiny", "1", "onnx", "tiny", ModelState.READY, 0.0, labels=LABELS, config=config)
    return replace(known, **changes)


def test_the_engine_serves_a_graph_and_checks_its_example(tmp_path: Path) -> None:
    path = graphs.save(graphs.make(tail=[node("Softmax", "logits", "scores")]), tmp_path)
    found = examined(path, tmp_path)
    data = found.path.read_bytes()
    assert (found.path.suffix, found.checksum) == (".onnx", hashlib.sha256(path.read_bytes()).hexdigest())
    blobs = {"weights": data, "example": found.example_png}
    ready = version(
        found.config, weights="weights", checksum=found.checksum, preprocessing=found.preprocessing,
        example=ModelExample("example", found.example_logits),
    )  # fmt: skip
    loaded = Engine(Settings(device="cpu"), blobs.__getitem__).load(ready)
    pictures = [loaded.prepare(example())] * 9
    assert loaded.forward(pictures).shape == (9, 4)
    assert loaded.forward(pictures, "features").shape == (9, 8)
    assert loaded.forward(pictures)[0].tolist() == pytest.approx(found.example_logits, abs=1e-5)
    assert loaded.bytes >= len(data) - 1000
    wrong = replace(ready, example=ModelExample("example", tuple(each + 1 for each in found.example_logits)))
    with pytest.raises(BadWeights, match="does not reproduce"):
        Engine(Settings(device="cpu"), blobs.__getitem__).load(wrong)


def test_without_a_cuda_of_onnx_runtimes_own_a_graph_runs_on_the_cpu(tmp_path: Path) -> None:
    graph = opened(graphs.make(), tmp_path).run_on(torch.device("cuda", 0))
    assert graph.device == torch.device("cpu")
    assert graph(torch.from_numpy(PICTURES)).shape == (5, 4)


def test_a_damaged_stored_graph_is_not_served() -> None:
    with pytest.raises(BadWeights, match="cannot be parsed"):
        open_graph(b"\x08\x0a:\xff", {"output": "logits"})


def test_thresholds_of_the_import_count(tmp_path: Path) -> None:
    path = graphs.save(graphs.make(), tmp_path)
    options = ImportOptions(problem_type=ProblemType.MULTI_LABEL.value, thresholds=(0.7,))
    assert examined(path, tmp_path, options=options).thresholds == (0.7,)


def test_onnx_runtime_uses_the_threads_that_torch_has(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[int] = []
    session = onnxruntime.InferenceSession

    def noting(data: bytes, options: Any, **rest: Any) -> Any:
        seen.append(options.intra_op_num_threads)
        return session(data, options, **rest)

    monkeypatch.setattr(onnxruntime, "InferenceSession", noting)
    opened(graphs.make(), tmp_path)
    assert set(seen) == {torch.get_num_threads()}
