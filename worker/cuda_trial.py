"""A trial finds the network that answers on an NVIDIA card: recorded, in bfloat16 where allowed, compiled where faster.

plain network, float32 ──> recorded: the same answers? ──> faster? ──> serves
                              └─ no: the next candidate, at last the plain network itself
"""

from __future__ import annotations

import copy
import logging
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import torch
from torch import nn

from shared.domain.engines import EngineErrors
from shared.domain.preprocessing import Preprocessing
from worker import engine_examples
from worker.cuda_network import CudaNetwork

log = logging.getLogger(__name__)

Run = Callable[[Sequence[torch.Tensor], str], torch.Tensor]
"""Runs crops for a task, as CudaNetwork does."""
_HALVES = (torch.float16, torch.bfloat16)
"""As fast as each other. float16 first, because its scores are eight times as exact; bfloat16 for networks whose values
it cannot hold."""
_TASKS = ("classify", "features")
_BETTER = 1.05
"""How many times faster a compiled network must be to be taken."""
_ROUNDS, _ROUND_SECONDS = 3, 0.1


@dataclass(frozen=True)
class Plain:
    """A network as torch runs it, kernel by kernel: what a candidate is compared with."""

    network: nn.Module
    """In float32, on the card."""
    head: str
    preprocessing: Preprocessing
    run: Run
    scores: Callable[[torch.Tensor], torch.Tensor]
    """Makes the scores of logits."""


class CudaTrial:
    """The trial of one model, and the network that it has found so far."""

    def __init__(self, plain: Plain, crops: Sequence[torch.Tensor], largest: int) -> None:
        """Compare with `plain` on the crops; `largest` is how many pictures a piece may have."""
        self._plain, self._crops = plain, crops
        self._batch = [crop for _ in range(largest) for crop in crops][:largest]
        self.pictures = len(crops)
        self.network: CudaNetwork | None = None
        """None while the plain network answers."""
        self.chosen = "torch"
        """The name of what answers."""
        self.errors: dict[str, EngineErrors] = {}
        """Candidate -> what it changes."""
        self.rates: dict[str, float] = {}
        """Pictures per second of the plain network (`torch`), and of each candidate that kept its contract."""
        self.refused: dict[str, str] = {}
        """Candidate -> why it does not answer."""

    def record(self, *, fast: bool) -> None:
        """Find a network that gives the plain one's answers: in half precision if `fast`, or else in float32."""
        self.rates["torch"] = _rate(self._plain.run, self._batch)
        for kind in (*_HALVES, torch.float32) if fast else (torch.float32,):
            if candidate := self._candidate(kind, compiled=False):
                self.rates[_name(kind)] = _rate(candidate, self._batch)
                self.network, self.chosen = candidate, _name(kind)
                return

    def compile(self) -> None:
        """Take the network that torch.compile makes of the present one, if it is faster; while that goes on answering,
        for half a minute."""
        present = self.network
        if present is None or not can_compile():
            return
        if candidate := self._candidate(present.type, compiled=True):
            # Both now: the card may do other work as well.
            before, after = _rate(present, self._batch), _rate(candidate, self._batch)
            name = _name(present.type, compiled=True)
            self.rates |= {_name(present.type): before, name: after}
            if after > _BETTER * before:
                self.network, self.chosen = candidate, name

    def _candidate(self, kind: torch.dtype, *, compiled: bool) -> CudaNetwork | None:
        """Return a network that keeps its contract; or None, with the reason in `refused`."""
        plain, name = self._plain, _name(kind, compiled=compiled)
        try:
            network = plain.network if kind is torch.float32 else copy.deepcopy(plain.network).to(kind)
            made = CudaNetwork(network, plain.head, plain.preprocessing, len(self._batch), compiled=compiled)
            answers, expected = ([run(self._crops, task) for task in _TASKS] for run in (made, plain.run))
            found = engine_examples.errors((answers[0], answers[1]), (expected[0], expected[1]), plain.scores)
        except Exception as error:  # a network may do anything, and many things cannot be recorded
            log.info("no %s", name, exc_info=True)
            self.refused[name] = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')[:200]}"
            return None
        self.errors[name] = found
        if found.are_exact or (kind is not torch.float32 and found.are_fast):
            return made
        self.refused[name] = (
            f"{found.agreement:.1%} of the pictures keep their label, scores differ by {found.score_difference:.2g} "
            f"and answers by {found.difference:.2g} at most"
        )
        return None


def can_compile() -> bool:
    """Return True if there is a C compiler, which Triton needs to start its kernels."""
    return any(shutil.which(name) for name in ("cc", "gcc", "clang"))


def _name(kind: torch.dtype, *, compiled: bool = False) -> str:
    return f"graphs {str(kind).removeprefix('torch.')}" + (", compiled" if compiled else "")


def _rate(run: Run, batch: Sequence[torch.Tensor]) -> float:
    """Return pictures per second, by the median of a few rounds."""
    run(batch, "classify")
    rates = []
    for _ in range(_ROUNDS):
        began, done = time.perf_counter(), 0
        while time.perf_counter() - began < _ROUND_SECONDS:
            run(batch, "classify")
            done += len(batch)
        rates.append(done / (time.perf_counter() - began))
    return round(median(rates), 2)
