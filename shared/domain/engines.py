"""Engines: what another runtime or precision may change, the choice of a worker for a version, and what it measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

EXACT_DIFFERENCE = 1e-3
"""With the precision `exact`: allowed difference of a logit or feature, as a fraction of the largest."""
FAST_AGREEMENT, FAST_SCORE_DIFFERENCE, FAST_DIFFERENCE = 0.99, 0.02, 0.05
"""With the precision `fast`: share of the example set that must keep its best label, and allowed difference of a score,
and of a logit or feature, of which some jobs ask for the features."""


@dataclass(frozen=True)
class EngineErrors:
    """What a candidate changes, compared with the plain network in float32 on the version's example set."""

    difference: float
    """Largest difference of a logit or feature, as a fraction of the largest; 1 at most, and if an answer was not
    finite."""
    score_difference: float
    """Largest difference of a score; 1 if an answer was not finite."""
    agreement: float
    """Share of the pictures with the same best label."""

    @property
    def are_exact(self) -> bool:
        """True if they are within rounding."""
        return self.difference <= EXACT_DIFFERENCE

    @property
    def are_fast(self) -> bool:
        """True if they are within what the precision `fast` allows."""
        moved = self.score_difference <= FAST_SCORE_DIFFERENCE and self.difference <= FAST_DIFFERENCE
        return moved and self.agreement >= FAST_AGREEMENT


@dataclass(frozen=True)
class EngineReport:
    """What a worker measured when it chose the runtime of a version; a candidate is a runtime, with its type of numbers
    if that is not float32: `torch`, `openvino`, `openvino bfloat16`."""

    runtime: str
    """`torch`, or `openvino` or `cuda-graphs` where that is faster and keeps the contract of the precision."""
    pictures_per_second: Mapping[str, float]
    """Candidate -> rate of the network alone, measured in turn."""
    difference: float
    """That of the candidate that serves; of OpenVINO in float32 if torch does."""
    processor: str
    threads: int
    library: str
    """The library of the other runtime, and its version."""
    measured_at: float
    """Unix seconds."""
    precision: str = "exact"
    """`exact` or `fast`: the setting of the worker."""
    chosen: str = ""
    """The candidate that serves, `openvino bfloat16, scaled decoding`; empty in the reports of earlier releases."""
    errors: Mapping[str, EngineErrors] = field(default_factory=dict)
    """Candidate, with `, scaled decoding` if JPEGs are decoded to a smaller size -> what it changes."""
    pictures: int = 0
    """Pictures of the example set that the errors were measured on."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """What was tried and does not answer -> why."""


def read_report(values: Mapping[str, Any]) -> EngineReport:
    """Return the report that `asdict` and JSON made these values of."""
    errors = {name: EngineErrors(**each) for name, each in values.get("errors", {}).items()}
    return EngineReport(**{**values, "errors": errors})


_FORM = 2
"""The form of what a conversion stores; what has another one is not read."""


def converted_folder(version_id: str) -> str:
    """Return the folder of a version's networks in other forms."""
    return f"engines/{version_id}"


def converted_key(version_id: str, library: str) -> str:
    """Return the key of a version's network, converted by that version of the library."""
    return f"{converted_folder(version_id)}/openvino-{library}-{_FORM}.zip"


def failure_key(version_id: str, library: str) -> str:
    """Return the key of the reason for which that version of the library cannot convert the network."""
    return f"{converted_folder(version_id)}/openvino-{library}-{_FORM}.failed"


def report_name(version_id: str) -> str:
    """Return the name of the key-value pair that holds the newest report of a version."""
    return f"engine:{version_id}"
