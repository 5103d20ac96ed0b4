"""A network on an NVIDIA card runs from CUDA graphs: its kernels are recorded once, and one call starts them all.

    crops ──> pinned ──copy──> pixels on the card ──graph: normalise, network──> logits, features ──copy──> pinned
                │                                                                                             │
                └─ the next piece is stacked meanwhile                               an event says it is there ┘

A graph has one batch size, so one is recorded for each of a few sizes, and a piece runs with the next larger one. What
fills it up are the pixels of an earlier piece, which cost nothing to leave there, and whose answers are not read.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from shared.domain.jobs import BOTH
from shared.domain.preprocessing import Preprocessing, sides
from worker import optimise, preprocess

log = logging.getLogger(__name__)

SIZES = (1, 4, 16, 64)
"""Batch sizes of the graphs. Four pieces of 64 are faster than one of 256 (resnet50 in bfloat16: 11,100 and 9,300
pictures/s), since the next piece is stacked while the card runs the one before."""
_PARTS = {BOTH: ("classify", "features")}
"""The answers that one of a task consists of."""
_WARM_UPS = 3
"""Runs before a recording: libraries choose their algorithms in the first ones, which cannot be recorded."""


@dataclass(frozen=True)
class _Slot:
    """The pinned memory of one piece: its pixels (N, height, width, channels), and the answers by task."""

    pixels: torch.Tensor
    answers: dict[str, torch.Tensor]
    done: torch.cuda.Event


@dataclass(frozen=True)
class _Recorded:
    """A graph, and the memory on the card in which it leaves its answers, by task."""

    graph: torch.cuda.CUDAGraph
    answers: dict[str, torch.Tensor]


class CudaNetwork:
    """A recorded network: prepared pictures in, logits or features out, for one caller at a time."""

    def __init__(
        self,
        network: nn.Module,
        head: str,
        preprocessing: Preprocessing,
        largest: int = SIZES[-1],
        *,
        compiled: bool = False,
    ) -> None:
        """Record a network that is on the card, in eval mode, with its weights in the type in which it shall compute.

        `head` is the name of its last layer. `largest`, the pictures of the largest graph, is halved while the card has
        too little memory for it. `compiled` has torch.compile make the kernels, which takes half a minute and needs a C
        compiler. Raises OutOfMemoryError if there is no room for one picture, and whatever a network raises that cannot
        be recorded.
        """
        weight = next(network.parameters())
        self.type, self._device = weight.dtype, weight.device
        self._preprocessing, self._compiled = preprocessing, compiled
        self._alone = threading.Lock()
        before = torch.cuda.memory_reserved(self._device)
        with torch.inference_mode(), optimise.ALONE, torch.cuda.device(self._device):
            self._stream = torch.cuda.Stream()
            self._stream.wait_stream(torch.cuda.current_stream())  # on which the weights came
            with _Tap(network, head) as tapped:
                # Kept, because a graph holds only the addresses of the weights, and of the kernels.
                self._run = torch.compile(tapped) if compiled else tapped
                with _many_networks() if compiled else nullcontext():
                    self._graphs = self._record_all(largest)
            self.largest = max(self._graphs)
            """Pictures in one piece."""
            self._slots = [self._slot() for _ in range(2)]
        self.bytes = max(0, torch.cuda.memory_reserved(self._device) - before)
        """Memory on the card that the graphs have taken."""

    @torch.inference_mode()
    def __call__(self, crops: Sequence[torch.Tensor], task: str = "classify") -> torch.Tensor:
        """Run uint8 crops (channels, height, width); returns float32 on the CPU, (N, classes) logits, (N, dimension)
        features, or BOTH."""
        answers: list[torch.Tensor] = []
        with self._alone:
            running: tuple[_Slot, int] | None = None
            for number, start in enumerate(range(0, len(crops), self.largest)):
                piece = crops[start : start + self.largest]
                slot = self._slots[number % 2]
                self._begin(piece, slot, task)
                if running:
                    answers.append(_end(*running, task))
                running = slot, len(piece)
            if running:
                answers.append(_end(*running, task))
        return torch.cat(answers)

    def _begin(self, crops: Sequence[torch.Tensor], slot: _Slot, task: str) -> None:
        """Start a piece: nothing here waits for the card."""
        count = len(crops)
        recorded = self._graphs[next(size for size in self._graphs if size >= count)]
        torch.stack([crop.permute(1, 2, 0) for crop in crops], out=slot.pixels[:count])
        with torch.cuda.stream(self._stream):
            self._pixels[:count].copy_(slot.pixels[:count], non_blocking=True)
            recorded.graph.replay()
            for part in _PARTS.get(task, (task,)):
                slot.answers[part][:count].copy_(recorded.answers[part][:count], non_blocking=True)
            slot.done.record()

    def _record_all(self, largest: int) -> dict[int, _Recorded]:
        """Return batch size -> graph, the smallest first; the largest is recorded first, to find out whether it fits,
        and its memory then serves the others, since only one of them runs at a time."""
        height, width = sides(self._preprocessing.crop)
        while True:
            try:
                pool = torch.cuda.graph_pool_handle()
                shape = (largest, height, width, self._preprocessing.channels)
                self._pixels = torch.zeros(shape, dtype=torch.uint8, device=self._device)
                sizes = (largest, *(size for size in reversed(SIZES) if size < largest))
                recorded = {size: self._record(size, pool) for size in sizes}
                return dict(sorted(recorded.items()))
            except torch.OutOfMemoryError:
                if largest == 1:
                    raise
                log.warning("no device memory for graphs of %d pictures; %d are tried", largest, largest // 2)
                largest //= 2
            torch.cuda.empty_cache()

    def _record(self, size: int, pool: Any) -> _Recorded:
        pixels = self._pixels[:size].permute(0, 3, 1, 2)
        with torch.cuda.stream(self._stream):
            for _ in range(_WARM_UPS):
                self._answers(pixels)
        graph = torch.cuda.CUDAGraph()
        # Other threads may use the card meanwhile, which the default, `global`, would take for an error.
        with _own_workspace(), torch.cuda.graph(graph, pool, self._stream, capture_error_mode="thread_local"):
            answers = self._answers(pixels)
        return _Recorded(graph, answers)

    def _answers(self, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        ready = preprocess.normalise(pixels, self._preprocessing).to(self.type)
        if self._compiled:
            # Once for all batch sizes, which is as fast as once for each; only a batch of one is compiled by itself.
            torch._dynamo.maybe_mark_dynamic(ready, 0)  # noqa: SLF001  # it is documented under this name
        logits, features = self._run(ready)
        return {"classify": logits.float(), "features": features.float()}

    def _slot(self) -> _Slot:
        recorded = self._graphs[self.largest].answers
        pixels = torch.empty(self._pixels.shape, dtype=torch.uint8, pin_memory=True)
        answers = {task: torch.empty(found.shape, pin_memory=True) for task, found in recorded.items()}
        # Blocking: to spin while waiting would take a core from the threads that decode.
        return _Slot(pixels, answers, torch.cuda.Event(blocking=True))


def _end(slot: _Slot, count: int, task: str) -> torch.Tensor:
    """Wait for a piece, and return a copy of its answers."""
    slot.done.synchronize()
    return torch.cat([slot.answers[part][:count] for part in _PARTS.get(task, (task,))], dim=1)


class _Tap(nn.Module):
    """A network that also returns what enters its head; within a `with`, at whose end the network is as before.

    The hook stays for all runs: torch.compile cannot follow one that is set and removed in each.
    """

    def __init__(self, network: nn.Module, head: str) -> None:
        super().__init__()
        self.network = network
        self._entered: list[torch.Tensor] = []
        hooked = network.get_submodule(head)
        self._hook = hooked.register_forward_pre_hook(lambda module, inputs: self._entered.append(inputs[0]))

    def __enter__(self) -> _Tap:
        return self

    def __exit__(self, *_: object) -> None:
        self._hook.remove()
        self._entered.clear()

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self._entered.clear()
        logits = self.network(pixels)
        features = self._entered[0]
        return logits, features.mean(dim=(2, 3)) if features.ndim == 4 else features


@contextmanager
def _many_networks() -> Iterator[None]:
    """Let torch.compile make more than eight variants of one function: all networks are the same one to it."""
    from torch._dynamo import config

    with config.patch(recompile_limit=1000, accumulated_recompile_limit=10_000):
        yield


@contextmanager
def _own_workspace() -> Iterator[None]:
    """Give a graph a cuBLAS workspace in its own memory. Torch's own, one for each stream, would be shared with other
    work, and kept when the network is gone."""
    torch._C._cuda_clearCublasWorkspaces()  # noqa: SLF001  # torch's own graphs do the same
    try:
        yield
    finally:
        torch._C._cuda_clearCublasWorkspaces()  # noqa: SLF001
