"""Engines: the runtime that a worker has chosen for a version, and what it measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class EngineReport:
    """What a worker measured when it chose the runtime of a version."""

    runtime: str
    """`torch`, or `openvino` where that is faster and gives the same answers."""
    pictures_per_second: Mapping[str, float]
    """Runtime -> rate of the network alone, measured in turn."""
    difference: float
    """Largest difference of a logit or feature from the plain network in float32, as a fraction of the largest; 1 if an
    answer was not finite."""
    processor: str
    threads: int
    library: str
    """The library of the other runtime, and its version."""
    measured_at: float
    """Unix seconds."""


def converted_folder(version_id: str) -> str:
    """Return the folder of a version's networks in other forms."""
    return f"engines/{version_id}"


def converted_key(version_id: str, library: str) -> str:
    """Return the key of a version's network, converted by that version of the library."""
    return f"{converted_folder(version_id)}/openvino-{library}.zip"


def failure_key(version_id: str, library: str) -> str:
    """Return the key of the reason for which that version of the library cannot convert the network."""
    return f"{converted_folder(version_id)}/openvino-{library}.failed"


def report_name(version_id: str) -> str:
    """Return the name of the key-value pair that holds the newest report of a version."""
    return f"engine:{version_id}"
