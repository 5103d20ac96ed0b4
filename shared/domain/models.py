"""Models and their versions: the metadata stored with the weights, and the catalogue of every installation."""

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
"""The source of published weights, whose location the family knows."""
NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
ALIAS_PATTERN = re.compile(rf"(?:{NAME_PATTERN.pattern}/)?{NAME_PATTERN.pattern}")
CHECK_SECONDS = "check_seconds"
"""The name of the key-value pair that holds the seconds of the last successful check."""


class ModelState(StrEnum):
    """The state of a version. Only READY versions serve; other weights are never used instead.

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
"""The default model where neither the tenant nor the setting has chosen another."""


@dataclass(frozen=True)
class ModelExample:
    """A picture and the logits that a worker must reproduce before the version is served."""

    blob: str
    logits: tuple[float, ...]
    """The first ten logits, in label order, of the plain float32 model."""


@dataclass(frozen=True)
class ModelVersion:
    """A servable set of weights and its metadata."""

    id: str
    tenant: str
    """The owner; ALL_TENANTS for the catalogue."""
    name: str
    version: str
    """`1` is the first."""
    family: str
    """The file in worker/families that builds it; empty until a worker has found it by the architecture."""
    architecture: str
    state: ModelState
    created_at: float
    """Unix seconds."""
    is_default: bool = False
    """True if it answers requests that name the model but no version."""
    labels: tuple[str, ...] = ()
    """Labels in the order of the logits; empty until the weights are known."""
    preprocessing: Preprocessing | None = None
    """None until the weights are known."""
    source: str = PRETRAINED
    """The source of the weights: PRETRAINED, or the key of the uploaded file."""
    weights: str = ""
    """Key of the safetensors blob; empty until checked."""
    checksum: str = ""
    """SHA-256 of that blob, hex."""
    example: ModelExample | None = None
    reason: str = ""
    """Why it is not READY, or the progress of the check, for people."""
    max_batch: int = 0
    """Pictures in one batch; 0 means the value of the setting."""
    max_delay_ms: int = 0
    """Milliseconds that an unfilled batch waits for more pictures; 0 means not at all."""
    metrics: dict[str, object] = field(default_factory=dict)
    attempts: int = 0
    """Number of times that a check has begun; a version that repeatedly crashes workers is refused."""
    training_id: str = ""
    """The training that made it, with its evidence; empty for an imported version or one of the catalogue."""
    requires_deployment: bool = False
    """True if it was trained for a wire on which it must be deployed before it answers; the other wires ignore this."""
    canary: float = 0.0
    """Share of the requests without a version that it answers, although it is not the default; 0 to 1."""
    preset: Preset | None = None
    """The origin of `preprocessing`; None until a worker has checked an import."""
    wanted_preprocessing: PreprocessingRequest | None = None
    """The preprocessing that the import asked for; None if it gave none."""


@dataclass(frozen=True)
class ModelAlias:
    """An alternative name for a model, such as `google/vit-base-patch16-224`."""

    tenant: str
    alias: str
    name: str
    """The name of the model whose default version answers."""


def pick(versions: Sequence[ModelVersion], name: str, version: str = "") -> ModelVersion:
    """Return the requested version, or the default version; raises NotFound naming the existing versions."""
    if not versions:
        raise errors.NotFound(f"There is no model {name!r}.")
    if not version:
        return next((candidate for candidate in versions if candidate.is_default), versions[-1])
    for candidate in versions:
        if candidate.version == version:
            return candidate
    available = ", ".join(candidate.version for candidate in versions)
    raise errors.NotFound(f"Model {name!r} has no version {version!r}; it has: {available}.")


def example_key(version_id: str) -> str:
    """Return the key of the picture in the version's ModelExample."""
    return f"examples/{version_id}.png"


def trained_weights_key(training_id: str, checksum: str = "") -> str:
    """Return the key of the weights that a training made, or, without a checksum, the folder of all its weights."""
    # With the checksum, so that a trainer that lost its lock cannot overwrite weights that another trainer registered.
    return f"weights/{training_id}/{checksum}.safetensors" if checksum else f"weights/{training_id}"


def plots_folder(training_id: str) -> str:
    """Return the folder of the plots of a training's evidence."""
    return f"plots/{training_id}"


def next_version(versions: Sequence[ModelVersion]) -> str:
    """Return the number after the highest of these; versions with names that are not numbers are ignored."""
    numbers = [int(version.version) for version in versions if version.version.isdigit()]
    return str(max(numbers, default=0) + 1)
