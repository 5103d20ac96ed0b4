"""Models and their versions: what travels with the weights, and what may be done with it (rules and use-cases)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class State(StrEnum):
    """Where a version stands. Only READY serves; there is no fallback to other weights, ever.

    ABSENT ──> CHECKING ──> READY
       ▲           └──────> REFUSED   (with the reason)
       └── in the catalogue, weights not fetched yet; a failed fetch leads back here, with the reason
    """

    ABSENT = "absent"
    CHECKING = "checking"
    READY = "ready"
    REFUSED = "refused"


@dataclass(frozen=True)
class Preprocessing:
    """What a picture must look like before it enters; equal to torchvision's `ImageClassification` preset."""

    resize: int
    """Pixels of the shorter side after resizing."""
    crop: int
    """Pixels of the side of the central square that is kept."""
    mean: tuple[float, ...]
    """Per channel, of values scaled to 0..1."""
    std: tuple[float, ...]
    interpolation: str = "bilinear"
    """`nearest`, `bilinear` or `bicubic`."""
    mode: str = "RGB"
    """Pillow's mode that the picture is converted to: `RGB` or `L`."""


@dataclass(frozen=True)
class Example:
    """One picture and the answer that a worker must reproduce before the version is served."""

    blob: str
    logits: tuple[float, ...]
    """The first ten logits, in label order, of the plain float32 model."""


@dataclass(frozen=True)
class Version:
    """One servable set of weights and everything that belongs to it."""

    id: str
    tenant: str
    """Whose it is; `*` is everybody's (the catalogue)."""
    name: str
    version: str
    """`1` is the first."""
    family: str
    """The file in worker/families that builds it: `torchvision`, `digits`."""
    architecture: str
    state: State
    created_at: datetime
    labels: tuple[str, ...] = ()
    """In the order of the logits. Empty until the weights are known."""
    preprocessing: Preprocessing | None = None
    """None until the weights are known."""
    weights: str = ""
    """Key of the safetensors blob; empty while ABSENT."""
    checksum: str = ""
    """SHA-256 of that blob, hex."""
    example: Example | None = None
    reason: str = ""
    """Why it is not READY, for people."""
    max_batch: int = 0
    """Pictures in one batch; 0 is the setting."""
    max_delay_ms: int = 0
    """How long an unfilled batch may wait for more; 0 is never."""
    metrics: dict[str, object] = field(default_factory=dict)
