"""Models and their versions: what is stored with the weights, and the catalogue that every installation has."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from shared import errors
from shared.domain.preprocessing import Preprocessing, PreprocessingRequest, Preset

ALL_TENANTS = "*"
"""The tenant of the catalogue."""
PRETRAINED = "pretrained"
"""The source of weights that the family itself knows where to get."""
NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
ALIAS_PATTERN = re.compile(rf"(?:{NAME_PATTERN.pattern}/)?{NAME_PATTERN.pattern}")
CHECK_SECONDS = "check_seconds"
"""The fact that tells how long the last check took that ended well."""


class ModelState(StrEnum):
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
class CatalogueModel:
    """A model that every installation has from the start, for all tenants."""

    name: str
    architecture: str
    bundled: bool
    """True if the weights are installed with inferq; else they are fetched when the model is first used or added."""


CATALOGUE = (
    CatalogueModel("efficientnet_lite0", "tf_efficientnet_lite0", bundled=True),
    CatalogueModel("digits", "digits", bundled=True),
    CatalogueModel("resnet50", "resnet50", bundled=False),
)
STANDARD = CATALOGUE[0].name
"""Answers requests that name no model where neither the tenant nor the setting has chosen one."""


@dataclass(frozen=True)
class ModelExample:
    """One picture and the answer that a worker must reproduce before the version is served."""

    blob: str
    logits: tuple[float, ...]
    """The first ten logits, in label order, of the plain float32 model."""


@dataclass(frozen=True)
class ModelVersion:
    """One servable set of weights and everything that belongs to it."""

    id: str
    tenant: str
    """Whose it is; EVERYBODY's is the catalogue."""
    name: str
    version: str
    """`1` is the first."""
    family: str
    """The file in worker/families that builds it, or empty until a worker has found it by the architecture."""
    architecture: str
    state: ModelState
    created_at: float
    """Unix seconds."""
    is_default: bool = False
    """Answers requests that name the model but no version."""
    labels: tuple[str, ...] = ()
    """In the order of the logits. Empty until the weights are known."""
    preprocessing: Preprocessing | None = None
    """None until the weights are known."""
    source: str = PRETRAINED
    """Where the weights come from: PRETRAINED, or the key of the uploaded file."""
    weights: str = ""
    """Key of the safetensors blob; empty until checked."""
    checksum: str = ""
    """SHA-256 of that blob, hex."""
    example: ModelExample | None = None
    reason: str = ""
    """Why it is not READY, or how far it is, for people."""
    max_batch: int = 0
    """Pictures in one batch; 0 is the setting."""
    max_delay_ms: int = 0
    """How long an unfilled batch may wait for more; 0 is never."""
    metrics: dict[str, object] = field(default_factory=dict)
    attempts: int = 0
    """How often a worker has begun to check it; one that kills its workers is refused."""
    training_id: str = ""
    """The training that made it, with its evidence; empty for one that was brought or is the catalogue's."""
    withheld: bool = False
    """Trained for a wire on which it does not answer before it is deployed there; the others do not ask."""
    canary: float = 0.0
    """Share of the requests naming no version that it answers, though it is not the default; 0 to 1."""
    preset: Preset | None = None
    """Where `preprocessing` is known from; None until a worker has checked an import."""
    wanted_preprocessing: PreprocessingRequest | None = None
    """What the import asked for; None where it said nothing."""


@dataclass(frozen=True)
class ModelAlias:
    """Another name for a model, such as `google/vit-base-patch16-224`."""

    tenant: str
    alias: str
    name: str
    """Of the model, whose default version answers."""


def pick(versions: Sequence[ModelVersion], name: str, version: str = "") -> ModelVersion:
    """The version asked for, or the default one; raises NotFound naming what there is."""
    if not versions:
        raise errors.NotFound(f"There is no model {name!r}.")
    if not version:
        return next((candidate for candidate in versions if candidate.is_default), versions[-1])
    for candidate in versions:
        if candidate.version == version:
            return candidate
    known = ", ".join(candidate.version for candidate in versions)
    raise errors.NotFound(f"Model {name!r} has no version {version!r}; it has: {known}.")


def example_key(version_id: str) -> str:
    """The blob of the picture that a worker must reproduce the answer to."""
    return f"examples/{version_id}.png"


def trained_weights_key(training_id: str, checksum: str = "") -> str:
    """The blob of the weights that a training makes, or the folder of all that its trainers have made."""
    # With the checksum, so that a trainer which lost its lock cannot overwrite what another one has registered.
    return f"weights/{training_id}/{checksum}.safetensors" if checksum else f"weights/{training_id}"


def plots_folder(training_id: str) -> str:
    """The folder of the pictures of a training's evidence."""
    return f"plots/{training_id}"


def next_version(versions: Sequence[ModelVersion]) -> str:
    """The number after the highest of these; versions may have names that are no numbers."""
    numbers = [int(known.version) for known in versions if known.version.isdigit()]
    return str(max(numbers, default=0) + 1)
