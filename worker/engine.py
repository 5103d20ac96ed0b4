"""The engine keeps models in memory: it loads versions on demand, keeps what fits, and runs batches on the device.

    version ──> blob ──checksum──> network ──> device, fused, packed ──> reproduces its example? ──> Loaded
    picture bytes ──prepare──> uint8 crop ─┐
    picture bytes ──prepare──> uint8 crop ─┴─forward──> logits or features ──top_k──> labels and scores

A version that does not reproduce its example is not served, and never replaced by another version.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import logging
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import nn

from shared.domain.jobs import BOTH, AnswerOptions
from shared.domain.models import ModelVersion
from shared.domain.preprocessing import Preprocessing, sides
from shared.domain.scores import choose_scoring
from shared.errors import BadOption, BadWeights, InferqError
from shared.settings import Settings
from worker import engine_examples, families, optimise, preprocess, weights
from worker.cuda_network import SIZES
from worker.cuda_trial import CudaTrial, Plain
from worker.families.onnx import Graph
from worker.openvino_network import OpenVinoNetwork
from worker.time_limit import LOADING, time_limit

log = logging.getLogger(__name__)

_TOLERANCE, _REDUCED_TOLERANCE = 5e-3, 3e-2
"""Allowed difference of the example's logits, as a fraction of the largest of them; the second for graphs that compute
with half precision. In float32 it is below 1e-5; but the examples of earlier releases were resized by Pillow, which
changes the logits of real networks by up to 1e-3."""
_BATCHES = {"cpu": 16, "cuda": 256}
"""Pictures in one batch where neither version nor setting says it. A card runs them in pieces of 64: the others are
claimed, decoded and stacked meanwhile."""
_CPU_PIECE = 4
"""Pictures that one thread runs at once. More is not faster, and above it the activations are so large that the
C library allocates them from the system for each batch: mobilenet_v2 falls from 223 pictures/s to 157 at 16 and
99 at 32."""


class Loaded:
    """A version that is ready to run. `prepare` may be called from many threads, `forward` from one at a time."""

    def __init__(self, version: ModelVersion, network: nn.Module, device: torch.device, settings: Settings) -> None:
        """Move the plain float32 network, in eval mode, to the device and optimise it there.

        A graph is optimised by its own runtime, which keeps its weights, and may be unable to use the device.
        """
        self.version = version
        self.preprocessing = _preprocessing(version)
        self._shape = (self.preprocessing.channels, *sides(self.preprocessing.crop))
        self._graph = network.run_on(device) if isinstance(network, Graph) else None
        self.device = self._graph.device if self._graph else device
        self.max_batch = version.max_batch or settings.max_batch or _BATCHES[self.device.type]
        """Pictures in one batch; halved for good when the device runs out of memory."""
        self.type = torch.float32
        self._piece = _CPU_PIECE * settings.torch_threads if self.device.type == "cpu" else self.max_batch
        if self._graph:
            self._piece = self._graph.config["batch"] or self._piece
        tensors = (*network.parameters(), *network.buffers())
        self.bytes = self._graph.bytes if self._graph else sum(t.numel() * t.element_size() for t in tensors)
        self._head = "" if self._graph else families.head(network)[0]
        compiled = settings.compile and self.device.type == "cpu" and not self._graph
        self._network = self._graph or self._made_fast(network, compiled)
        self.can_be_tuned = self.device.type == "cpu" and not self._graph and not settings.compile
        """True if another runtime may be faster, see tuning.py."""
        self.pictures = 0
        """Pictures that it has run."""
        self.tune_at: float = 0
        """The number of pictures after which it is looked at for tuning."""
        self._faster: OpenVinoNetwork | None = None
        self._scaled = False
        self.trial: CudaTrial | None = None
        """The networks that were tried on an NVIDIA card; None elsewhere."""
        self._compiled = torch.compile(self._network, dynamic=True) if compiled else self._network

    def prepare(self, data: bytes, *, exif: bool = True) -> torch.Tensor:
        """Decode, resize and crop a picture: uint8 of shape (channels, height, width). `exif` applies the EXIF
        orientation.

        Raises BrokenPicture.
        """
        picture = preprocess.decode(data, self.preprocessing, exif=exif, scaled=self._scaled)
        return preprocess.crop(picture, self.preprocessing)

    @torch.inference_mode()
    def forward(self, inputs: Sequence[torch.Tensor], task: str = "classify") -> torch.Tensor:
        """Run prepared pictures; returns float32 on the CPU: (N, classes) logits, (N, dimension) penultimate features,
        or for BOTH (N, classes + dimension) from a single pass."""
        results: list[torch.Tensor] = []
        done = 0
        while done < len(inputs):
            piece = inputs[done : done + min(self._piece, self.max_batch)]
            try:
                results.append(self._run(piece, task))
                done += len(piece)
            except torch.OutOfMemoryError:
                self._shrink(len(piece))
        return torch.cat(results)

    def _run(self, inputs: Sequence[torch.Tensor], task: str) -> torch.Tensor:
        if self.trial and (recorded := self.trial.network):
            answer = recorded(inputs, task)
            if recorded.type is not torch.float32 and not torch.isfinite(answer).all():
                answer = self._run_plain(inputs, task)  # a value that half precision cannot hold
        else:
            answer = self.run(self._ready(inputs), task)
        self.pictures += len(inputs)
        if not torch.isfinite(answer).all():
            raise InferqError(f"Model {self.version.name} answered with NaN or infinite numbers.")
        return answer

    @torch.inference_mode()
    def _run_plain(self, inputs: Sequence[torch.Tensor], task: str) -> torch.Tensor:
        return self.run_with_torch(self._ready(inputs), task)

    def _ready(self, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the pixels as the network wants them, on its device."""
        batch = preprocess.stack(inputs)
        if self.device.type == "cuda" and not self._graph:  # ONNX Runtime copies by itself
            batch = batch.pin_memory().to(self.device, non_blocking=True)
        return preprocess.normalise(batch, self.preprocessing)

    def run(self, ready: torch.Tensor, task: str = "classify") -> torch.Tensor:
        """Run normalised pixels with the chosen runtime, at most as many as `trial_batch` returns."""
        return self._faster(ready, task) if self._faster else self.run_with_torch(ready, task)

    def run_with_torch(self, ready: torch.Tensor, task: str = "classify") -> torch.Tensor:
        """Run normalised pixels, as `forward` does before another runtime is used."""
        with optimise.ALONE:  # the model check may trace another model in its thread
            return (self._compiled(ready) if task == "classify" else self._tapped(ready, task)).float().cpu()

    @property
    def runtime(self) -> str:
        """What runs the network: `torch`, `onnxruntime`, `openvino` or, on an NVIDIA card, `cuda-graphs`."""
        if self.trial and self.trial.network:
            return "cuda-graphs"
        return "onnxruntime" if self._graph else "openvino" if self._faster else "torch"

    @property
    def numbers(self) -> str:
        """The type of numbers that the network computes with: `float32` or `bfloat16`."""
        return self._faster.numbers if self._faster else str(self.type).removeprefix("torch.")

    def use(self, faster: OpenVinoNetwork, *, scaled: bool = False) -> None:
        """Let another runtime answer from now on; `scaled` decodes large JPEGs to a smaller size."""
        self._faster, self._scaled = faster, scaled
        self.bytes += faster.bytes

    def record(self, example_png: bytes | None, settings: Settings) -> None:
        """On an NVIDIA card, let a recorded network answer from now on, if one gives the same answers as torch."""
        if self.device.type != "cuda" or self._graph or settings.engine == "torch":
            return
        fast = settings.precision == "fast"
        crops = [torch.full(self._shape, 127, dtype=torch.uint8)]
        if example_png:
            crops = list(engine_examples.own(example_png, self.preprocessing))
        if fast:  # which may change a label, and needs more pictures to show it
            pictures = list(engine_examples.made_up(enlarged=False))
            crops += list(engine_examples.crops(pictures, self.preprocessing, scaled=False))
        function = _FUNCTIONS[choose_scoring(self.version, AnswerOptions()).function_to_apply]
        plain = Plain(self._network, self._head, self.preprocessing, self._run_plain, function)
        trial = CudaTrial(plain, crops, min(self.max_batch, SIZES[-1]))
        trial.record(fast=fast)
        for name, reason in trial.refused.items():
            log.warning("%s version %s: no %s: %s", self.version.name, self.version.version, name, reason)
        if trial.network:
            self.type = trial.network.type
            self.bytes += trial.network.bytes
        self.trial = trial
        _give_back_memory()

    def trial_batch(self) -> torch.Tensor:
        """Return random pixels for a measurement, as many as run at once."""
        pixels = torch.randint(0, 256, (self._piece, *self._shape), dtype=torch.uint8)
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        return preprocess.normalise(pixels, self.preprocessing)

    def _tapped(self, batch: torch.Tensor, task: str) -> torch.Tensor:
        """Return the input of the head, averaged over height and width if it is 4-D; for BOTH after the logits."""
        if self._graph:
            return self._graph.features(batch) if task == "features" else self._graph.both(batch)
        captured: list[torch.Tensor] = []
        head = self._network.get_submodule(self._head)
        hook = head.register_forward_pre_hook(lambda module, inputs: captured.append(inputs[0]))
        try:
            logits = self._network(batch)
        finally:
            hook.remove()
        features = captured[0].mean(dim=(2, 3)) if captured[0].ndim == 4 else captured[0]
        return torch.cat([logits, features], dim=1) if task == BOTH else features

    def _shrink(self, tried: int) -> None:
        """Halve `max_batch` after the device ran out of memory; raises InferqError if it was a single picture."""
        if tried == 1:
            raise InferqError(f"The device has too little memory for one picture of model {self.version.name}.")
        self.max_batch = tried // 2
        log.warning("no device memory for %d pictures of %s; from now on %d", tried, self.version.name, self.max_batch)
        torch.cuda.empty_cache()

    @torch.inference_mode()
    def _made_fast(self, network: nn.Module, compiled: bool) -> nn.Module:
        network = optimise.fused(network).to(self.device, self.type).to(memory_format=torch.channels_last)
        if self.device.type == "cpu" and optimise.can_pack() and not compiled:
            batch = torch.zeros(self._piece, *self._shape).contiguous(memory_format=torch.channels_last)
            with optimise.ALONE:
                optimise.pack(network, batch)
        return network

    def warm_up(self, example_png: bytes | None) -> None:
        """Run once, so that the first request is not slower; raises BadWeights unless the example is reproduced."""
        if self.version.example is None or example_png is None:
            self.forward([torch.zeros(self._shape)])
            return
        expected = torch.tensor(self.version.example.logits)
        difference = (self.forward([self.prepare(example_png)])[0, : len(expected)] - expected).abs().max().item()
        reduced = self._graph is not None and self._graph.config.get("reduced")
        if difference > (_REDUCED_TOLERANCE if reduced else _TOLERANCE) * expected.abs().max().item():
            raise BadWeights(
                f"Model {self.version.name} version {self.version.version} does not reproduce its example: "
                f"a logit is off by {difference:.2g}. Import it again; if that does not help, report it."
            )


class Engine:
    """The models of one worker process. The least recently used model is dropped when another needs its memory."""

    def __init__(self, settings: Settings, read_blob: Callable[[str], bytes]) -> None:
        """Choose the device and set torch's threads; `read_blob` returns the bytes stored under a key."""
        self.device = choose_device(settings.device)
        self._settings = settings
        self._read_blob = read_blob
        self._kept: OrderedDict[str, Loaded] = OrderedDict()
        self._lock = threading.Lock()
        self._loading = threading.Lock()  # separate, so that a loaded model is returned while another is loading
        torch.set_num_threads(settings.torch_threads)
        with contextlib.suppress(RuntimeError):  # can be set once per process, and tests make several engines
            torch.set_num_interop_threads(1)
        torch.backends.cudnn.allow_tf32 = False  # TF32 has 10 bits; scores would differ in the third digit

    @property
    def description(self) -> str:
        """The runtime, type and device with which a model begins, for people: `torch float32 on cpu`."""
        return f"torch float32 on {self.device}"

    def load(self, version: ModelVersion) -> Loaded:
        """Return the version, ready to run, from memory if it is loaded; raises BadWeights if it cannot be served."""
        if loaded := self._find_loaded(version):
            return loaded
        with self._loading:
            if (loaded := self._find_loaded(version)) is None:
                loaded = self._read(version)
                with self._lock:
                    self._kept[version.id] = loaded
            return loaded

    def _find_loaded(self, version: ModelVersion) -> Loaded | None:
        with self._lock:
            loaded = self._kept.get(version.id)
            if loaded is None or loaded.version.checksum != version.checksum:
                return None
            self._kept.move_to_end(version.id)
            return loaded

    def forget(self, version_id: str) -> None:
        """Drop a version from memory, if it is loaded."""
        with self._lock:
            self._kept.pop(version_id, None)
        _give_back_memory()

    def runtimes(self) -> dict[str, str]:
        """Return version id -> the runtime, type and device of its loaded model: `openvino float32 on cpu`."""
        with self._lock:
            kept = list(self._kept.items())
        return {version_id: f"{model.runtime} {model.numbers} on {model.device}" for version_id, model in kept}

    def loaded(self) -> list[str]:
        """Return `name/version` of the loaded models, the least recently used first."""
        with self._lock:
            return [f"{model.version.name}/{model.version.version}" for model in self._kept.values()]

    def _read(self, version: ModelVersion) -> Loaded:
        started = time.monotonic()
        data = self._read_blob(version.weights)
        if hashlib.sha256(data).hexdigest() != version.checksum:
            raise BadWeights(f"The stored weights of model {version.name} are damaged: import it again.")
        example = self._read_blob(version.example.blob) if version.example else None
        self._make_room(len(data))
        with time_limit(LOADING, f"loading model {version.name} version {version.version}"):
            family = families.load(version.family) if version.family else families.find(version.architecture)
            network = weights.restore(family, version.architecture, _preprocessing(version), data, version.config)
            weights.check_labels(weights.outputs(network), version.labels)
            loaded = Loaded(version, network, self.device, self._settings)
            loaded.warm_up(example)
            loaded.record(example, self._settings)
        log.info("loaded %s version %s in %.1f s", version.name, version.version, time.monotonic() - started)
        return loaded

    def make_room_beside(self, model: Loaded) -> None:
        """Drop other models until all are within the limit again, because this one has grown."""
        with self._lock:
            if model.version.id in self._kept:
                self._kept.move_to_end(model.version.id)
        self._make_room(0, keep=1)

    def _make_room(self, size: int, keep: int = 0) -> None:
        """Drop models until `size` more bytes are within the limit; a single model may exceed it."""
        with self._lock:
            limit = self._settings.model_memory - size
            while len(self._kept) > keep and sum(model.bytes for model in self._kept.values()) > limit:
                dropped = self._kept.popitem(last=False)[1].version
                log.info("dropped %s version %s to make room", dropped.name, dropped.version)
        _give_back_memory()


def top_k(
    logits: torch.Tensor,
    labels: Sequence[str],
    k: int,
    function_to_apply: str = "softmax",
    lowest: Sequence[float] = (),
) -> list[list[tuple[str, float]]]:
    """Return the k likeliest labels of each row of (N, classes) logits with scores, highest first; ties in label order.

    `function_to_apply` is `softmax`, `sigmoid` or `none`; `k` may be larger than the number of classes. Labels with a
    logit below the one in `lowest`, if given, are left out.
    """
    if function_to_apply not in _FUNCTIONS:
        raise BadOption(f"function_to_apply must be softmax, sigmoid or none, not {function_to_apply!r}.")
    counts = [k] * len(logits)
    eligible = logits
    if lowest:
        reached = logits.double() >= logits.new_tensor(lowest, dtype=torch.double)
        eligible, counts = logits.masked_fill(~reached, -math.inf), reached.sum(dim=1).tolist()
    ranked = _ranked(eligible, min(k, logits.shape[1]))
    # In double precision, so that results from the cache, which Python ranks, differ in the last digits at most.
    scores = _FUNCTIONS[function_to_apply](logits.double()).gather(1, ranked)
    return [
        [(labels[index], score) for index, score in zip(indices[:count], row[:count], strict=True)]
        for indices, row, count in zip(ranked.tolist(), scores.tolist(), counts, strict=True)
    ]


def _ranked(logits: torch.Tensor, k: int) -> torch.Tensor:
    """Return the columns of the k largest logits of each row, the largest first; equal ones are in their order.

    By logits, because sigmoid gives 1.0 for many. topk has no defined order of ties, so it chooses, with all that are
    equal to the last one, and these few are sorted; to sort a thousand takes 60 microseconds a row.
    """
    last = logits.topk(k).values[:, -1:]
    most = int((logits >= last).sum(dim=1).max())
    found = logits.topk(most).indices.sort(dim=1).values
    order = logits.gather(1, found).sort(dim=1, descending=True, stable=True).indices
    return found.gather(1, order)[:, :k]


_FUNCTIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "softmax": lambda logits: logits.softmax(dim=1),
    "sigmoid": torch.sigmoid,
    "none": lambda logits: logits,
}


def choose_device(name: str) -> torch.device:
    """Return the device; `auto` is the first CUDA device, or else the CPU. Raises BadOption if it does not exist."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise BadOption(f"There is no kind of device {name!r}; use auto, cpu, cuda or cuda:N.") from None
    count = torch.cuda.device_count() if device.type == "cuda" else int(device.type == "cpu")
    if (device.index or 0) >= count:
        raise BadOption(f"There is no device {name!r}; torch sees {torch.cuda.device_count()} CUDA devices.")
    return device


def _preprocessing(version: ModelVersion) -> Preprocessing:
    if version.preprocessing is None:
        raise BadWeights(f"Model {version.name} version {version.version} does not say how to prepare a picture.")
    return version.preprocessing


def _give_back_memory() -> None:
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
