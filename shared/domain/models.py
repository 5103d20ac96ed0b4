"""Models and their versions: the metadata stored with the weights, and the catalogue of every installation."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from shared import errors
from shared.domain.preprocessing import Preprocessing, PreprocessingRequest, Preset, to_values
from shared.domain.rejection import RejectionRequest, RejectionRule

ALL_TENANTS = "*"
"""The tenant of the catalogue."""
PRETRAINED = "pretrained"
"""The source of published weights, whose location the family knows."""
NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
ALIAS_PATTERN = re.compile(rf"(?:{NAME_PATTERN.pattern}/)?{NAME_PATTERN.pattern}")
ONNX = "onnx"
"""The family of networks in ONNX files."""
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


class ProblemType(StrEnum):
    """The kind of answer of a model, in the words of Hugging Face's `problem_type`."""

    SINGLE_LABEL = "single_label_classification"
    """One label is true of a picture: softmax, the scores of all labels add up to 1."""
    MULTI_LABEL = "multi_label_classification"
    """Any number of labels is true of a picture: sigmoid, each label has a score of its own."""


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
class ImportCheck:
    """A picture, and the label that an imported model must give it."""

    blob: str
    """The key of the uploaded picture."""
    name: str
    """The name of the picture, for errors."""
    label: str


@dataclass(frozen=True)
class ImportOptions:
    """What an import asks for, beside labels and preprocessing."""

    state_key: str = ""
    """The set of weights to take from a file that holds several; empty if it holds only one."""
    problem_type: str = ""
    """A ProblemType; empty for what the file says, or what follows from the number of outputs."""
    thresholds: tuple[float, ...] = ()
    """As in ModelVersion; empty for what the file says, or the usual ones."""
    checks: tuple[ImportCheck, ...] = ()
    rejection: RejectionRequest | None = None
    """The rejection rule that the check is to fit; None for no rule."""


@dataclass(frozen=True)
class ModelImport:
    """Weights of the caller, and what lies beside them or is asked for."""

    source: str
    """The key of the uploaded file, or PRETRAINED."""
    labels: tuple[str, ...] = ()
    """Empty for those that lie beside the weights, or that belong to the published weights."""
    preprocessing: PreprocessingRequest | None = None
    options: ImportOptions | None = None
    size: int = 0
    """Bytes of the uploaded files."""


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
    """Key of the blob, safetensors or ONNX; empty until checked."""
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
    import_options: ImportOptions | None = None
    """What else the import asked for; None if it asked for nothing."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """What the family needs beside the architecture to build the network: the values of a `config.json`, or what an
    ONNX file says about its input. JSON."""
    problem_type: ProblemType = ProblemType.SINGLE_LABEL
    thresholds: tuple[float, ...] = ()
    """For MULTI_LABEL: the score from which a label is part of the answer, one for all labels or one per label."""
    rejection: RejectionRule | None = None
    """The rule by which it does not believe an answer; None if it believes all. It may change while the version is
    READY."""
    size: int = 0
    """Bytes of its weights; until it is checked, of the uploaded files."""

    @property
    def is_graph(self) -> bool:
        """True if the weights are a whole network in an ONNX file, which is run as it is."""
        return self.family == ONNX

    @property
    def has_features(self) -> bool:
        """True if the network can answer with its features; False for a graph whose last layer was not found."""
        return not self.is_graph or bool(self.config.get("features"))

    @property
    def features_checksum(self) -> str:
        """The SHA-256 (hex) of what its features follow from, by which they are kept: versions of the same weights may
        prepare pictures differently."""
        prepared = to_values(self.preprocessing) if self.preprocessing else {}
        return hashlib.sha256(f"{self.checksum}{json.dumps(prepared, sort_keys=True)}".encode()).hexdigest()


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


def check_task(version: ModelVersion) -> str:
    """Return the name of the task that checks a version.

    An import with options has a task of its own, and one with a rejection rule as well, which workers of older releases
    do not know: they would make the version ready without having looked at what is asked for.
    """
    if version.import_options is None:
        return "check"
    return "check_with_rule" if version.import_options.rejection else "check_import"


def uploads(version: ModelVersion) -> tuple[str, ...]:
    """Return the keys of the uploaded files that the check of a version reads."""
    pictures = tuple(check.blob for check in version.import_options.checks) if version.import_options else ()
    return pictures if version.source in ("", PRETRAINED) else (version.source, *pictures)


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
