"""Networks in ONNX files, run by ONNX Runtime; they come in as files only, never by name.

The stored file is the imported one. What was found out about it is the config, and `open_graph` applies that each time:

    input, layout, type   the name of the input, NCHW or NHWC, and float32, float16 or float64
    batch                 pictures that the graph takes at once; 0 for any number
    output, classes       the name of the output, and the number of its logits
    bypassed              tensors whose nodes are passed over: a softmax or sigmoid at the end, so that logits come out
    softmaxed             true if a softmax could not be passed over: then the logits are logarithms of scores
    features              the tensor that enters the last layer; missing if there is none to be found
    reduced               true if the graph computes with half precision or whole numbers
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from shared.domain.preprocessing import Preprocessing, Size
from shared.errors import BadOption, BadWeights
from worker.families import NO_CONFIG, Config, Pretrained, Weights

# onnx and onnxruntime are imported where they are needed: a worker without such models need not load them.
if TYPE_CHECKING:
    import onnx

log = logging.getLogger(__name__)

HOLLOW = True
FORMAT = "onnx"
TYPES = {"float32": torch.float32, "float16": torch.float16, "float64": torch.float64}
"""The types of input that are taken."""
_SMALLEST = 1e-12
"""Scores below it count as this one, since zero has no logarithm."""
_CUDA = "CUDAExecutionProvider"


class Graph(nn.Module):
    """A network in an ONNX file that takes pixels and returns logits, as those of the other families do."""

    def __init__(self, data: bytes, config: Config) -> None:
        """Load the file on the CPU; raises BadWeights if ONNX Runtime cannot."""
        super().__init__()
        self.config = config
        self.outputs = int(config.get("classes", 0))
        """The number of logits."""
        self.bytes = len(data)
        self.device = torch.device("cpu")
        self._session = open_session(data)
        self._data = data if _has_cuda() else b""

    def run_on(self, device: torch.device) -> Graph:
        """Move to a CUDA device if this ONNX Runtime can use it, else stay on the CPU; returns itself."""
        if device.type == "cuda" and self._data:
            self._session = open_session(self._data, device)
            self._data = b""
        if device.type == "cuda" and self._session.get_providers()[0] == _CUDA:  # it falls back without an error
            self.device = device
        elif device.type == "cuda":
            log.warning("this ONNX Runtime has no CUDA, so ONNX models run on the CPU: install onnxruntime-gpu")
        return self

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return logits (N, classes), float32 on the CPU, of pixels (N, channels, height, width)."""
        (answer,) = self._run([self.config["output"]], pixels)
        return self._logits(answer)

    def _logits(self, answer: torch.Tensor) -> torch.Tensor:
        if answer.ndim > 2 and set(answer.shape[2:]) == {1}:  # what a convolution and an average over space leave
            answer = answer.flatten(1)
        return answer.clamp(min=_SMALLEST).log() if self.config.get("softmaxed") else answer

    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return what enters the last layer, (N, dimension), averaged over height and width if it is 4-D.

        Raises BadOption if the graph has no such layer.
        """
        (found,) = self._run([self._features()], pixels)
        return _averaged(found)

    def both(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return (N, classes + dimension), the logits and then the features, from a single pass; raises as `features`
        does."""
        answer, found = self._run([self.config["output"], self._features()], pixels)
        return torch.cat([self._logits(answer), _averaged(found)], dim=1)

    def _features(self) -> str:
        """Return the name of the features; raises BadOption if the graph has none."""
        name: str = self.config.get("features", "")
        if not name:
            raise BadOption(NO_FEATURES)
        return name

    def _run(self, outputs: list[str], pixels: torch.Tensor) -> list[torch.Tensor]:
        """Return the outputs, in pieces of the graph's own batch if that is fixed; the last piece is padded."""
        ordered = pixels.permute(0, 2, 3, 1) if self.config["layout"] == "NHWC" else pixels
        batch = ordered.to("cpu", TYPES[self.config["type"]]).contiguous()
        size = self.config["batch"] or len(batch)
        pieces = [self._run_piece(outputs, batch[start : start + size], size) for start in range(0, len(batch), size)]
        return [torch.cat(parts) for parts in zip(*pieces, strict=True)]

    def _run_piece(self, outputs: list[str], piece: torch.Tensor, size: int) -> list[torch.Tensor]:
        padding = piece[-1:].expand(size - len(piece), *piece.shape[1:])  # real pixels, so that nothing overflows
        inputs = {self.config["input"]: torch.cat([piece, padding]).numpy()}
        try:
            results = [torch.from_numpy(result) for result in self._session.run(outputs, inputs)]
        except Exception as error:  # ONNX Runtime's errors have no common class
            raise RuntimeError(describe(error)) from error
        return [result[: len(piece)].float() for result in results]


def _averaged(features: torch.Tensor) -> torch.Tensor:
    return features.mean(dim=(2, 3)) if features.ndim == 4 else features


NO_FEATURES = "The model is an ONNX file in which no last layer can be found, so it has no features; ask for labels."


def open_graph(data: bytes, config: Config) -> Graph:
    """Return the network of an ONNX file, on the CPU; raises BadWeights."""
    import onnx

    model = parse(data)
    graph = model.graph
    bypassed = set(config.get("bypassed", ()))
    for node in graph.node:
        if node.output and node.output[0] in bypassed:
            node.op_type, node.domain = "Identity", ""
            del node.attribute[:], node.input[1:], node.output[1:]
    wanted = [config["output"], *([config["features"]] if config.get("features") else [])]
    known = {value.name: value for value in graph.output}
    outputs = [known.get(name, onnx.ValueInfoProto(name=name)) for name in wanted]
    del graph.output[:]
    graph.output.extend(outputs)
    return Graph(model.SerializeToString(), config)


def parse(data: bytes) -> onnx.ModelProto:
    """Return the model of an ONNX file, with its functions put in their places; raises BadWeights."""
    import onnx
    import onnx.inliner
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model_from_string(data)
        return onnx.inliner.inline_local_functions(model) if model.functions else model
    except (DecodeError, ValueError, RuntimeError) as error:
        raise BadWeights(f"The ONNX file cannot be parsed ({describe(error)}). Export it again.") from error


def open_session(data: bytes, device: torch.device | None = None) -> Any:
    """Return ONNX Runtime's session of a file; raises BadWeights if it cannot load it."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # its errors are raised as well
    # Threads that spin between two batches would take the cores of the other workers.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    providers: list[Any] = ["CPUExecutionProvider"]
    if device is not None:
        providers.insert(0, (_CUDA, {"device_id": device.index or 0, "use_tf32": 0}))
    try:
        return onnxruntime.InferenceSession(data, options, providers=providers)
    except Exception as error:  # ONNX Runtime's errors have no common class
        raise BadWeights(_refusal(str(error), onnxruntime.__version__)) from error


def _has_cuda() -> bool:
    import onnxruntime

    return _CUDA in onnxruntime.get_available_providers()


def _refusal(text: str, version: str) -> str:
    """Return what to do about an error at loading, from its text: nothing else says what was wrong."""
    if newest := re.search(r"till opset (\d+)", text):
        return (
            f"The ONNX file has an opset that ONNX Runtime {version} does not know yet; it knows those up to "
            f"{newest[1]}. Export it again with an older one, such as opset 20: {EXPORT}"
        )
    if newest := re.search(r"max supported IR version: (\d+)", text):
        return (
            f"The ONNX file has an IR version that ONNX Runtime {version} does not know yet; it knows those up to "
            f"{newest[1]}. Export it again with an older release of onnx."
        )
    return f"ONNX Runtime cannot load the file: {describe(text)}"


EXPORT = "torch.onnx.export(..., opset_version=20)"


def describe(error: Exception | str) -> str:
    """Return the first line of an error of ONNX Runtime, without its prefix and the place in its source."""
    line = next(iter(str(error).strip().splitlines()), type(error).__name__)
    line = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", line)
    return re.sub(r"^(Load model from .*? failed:)?\s*/onnxruntime_src/\S+ .*?\) (?=[A-Z\[])", "", line)[:500]


def architectures() -> list[str]:
    """Return no names: the file is the network."""
    return []


def build(architecture: str, classes: int, crop: Size, config: Config = NO_CONFIG) -> nn.Module:
    """Refuse: the file is the network."""
    raise BadOption("A network in an ONNX file cannot be built without the file.")


def preprocessing(architecture: str) -> Preprocessing:
    """Refuse: the file or the import says how to prepare pictures."""
    raise BadOption("The ONNX file does not say how to prepare pictures: give `resize`, `crop`, `mean` and `std`.")


def presets(architecture: str) -> dict[str, Preprocessing]:
    """Return no presets."""
    return {}


def pretrained(architecture: str) -> Pretrained | None:
    """Return None: none are published for a name."""
    return None


def identify(sha256: str) -> Pretrained | None:
    """Return None: the file says what it is."""
    return None


def adapt(architecture: str, state: Weights) -> Weights:
    """Return the state unchanged."""
    return state
