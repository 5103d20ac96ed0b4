"""Seen pictures: pictures of jobs that a tenant has chosen to keep, because they seem worth labelling."""

from __future__ import annotations

import heapq
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

from shared.domain import near_duplicates
from shared.domain.models import ModelVersion, ProblemType

USUAL_MOST, LARGEST_MOST = 1000, 20_000
"""Pictures that are kept for one model where the tenant says nothing, and that it may ask for."""
USUAL_DAYS, LONGEST_DAYS = 30, 365
DAY = 86_400.0
LEAST_UNCERTAINTY = 0.1
"""A picture that is less uncertain is not kept: of two labels the better one has a score of more than 0.95."""
FOLDER = "seen"
"""The folder of all kept bytes."""
LARGEST_LIMIT = 100
"""Most suggestions of one answer."""
COMPARED = 2000
"""Pictures, the most worth first, among which suggestions are chosen; their features take 5 MB of 1280 numbers each."""


class Settled(StrEnum):
    """What became of a picture that was suggested; its bytes are not kept any more."""

    LABELLED = "labelled"
    DISMISSED = "dismissed"


class Why(StrEnum):
    """Why a picture is worth labelling."""

    UNCERTAIN = "uncertain"
    """The scores of its labels do not decide."""
    UNLIKE_TRAINING = "unlike_training"
    """The rejection rule of the version finds it too far from all pictures that the version has learnt from."""


@dataclass(frozen=True)
class SeenChoice:
    """The choice of a tenant to keep pictures that jobs have run through a model."""

    id: str
    tenant: str
    model: str
    """The name of the model; it may be one of the catalogue, of which each tenant keeps its own pictures."""
    most: int
    """Pictures that are kept at most."""
    days: int
    """How long a picture is kept after it was last seen."""
    chosen_at: float
    """Unix seconds."""


@dataclass(frozen=True)
class SeenPicture:
    """One kept picture, with the answer of the version that saw it last."""

    id: str
    """UUIDv7."""
    choice_id: str
    sha256: str
    """Of the bytes, hex: a choice keeps a picture once."""
    version_id: str
    job_id: str
    """The last job that has sent it; the picture goes when that is erased. The job itself may be gone by age."""
    name: str
    label: str
    """The best label."""
    score: float
    """Its score, calibrated if the version is."""
    uncertainty: float
    """See `measure_uncertainty`."""
    is_unlike: bool
    """True if it is unlike all pictures that the version has learnt from."""
    size: int
    """Bytes that are kept; 0 when it is settled."""
    seen_at: float
    """Unix seconds."""
    fingerprint: int | None = None
    """As of examples; None if the picture could not be compared."""
    settled: str = ""
    """A Settled; empty while it may be suggested."""
    image_id: str = ""
    """The stored image that the job has referred to, with which the picture goes; empty if it was sent with the job."""

    @property
    def worth(self) -> float:
        """How much it is worth to label it, 0 to 1: its uncertainty, or 1 if it is unlike the training, since its
        scores mean nothing then."""
        return 1.0 if self.is_unlike else self.uncertainty

    @property
    def why(self) -> tuple[Why, ...]:
        """Why it is worth labelling, the stronger reason first."""
        unlike = (Why.UNLIKE_TRAINING,) if self.is_unlike else ()
        return (*unlike, Why.UNCERTAIN) if self.uncertainty >= LEAST_UNCERTAINTY else unlike


def blob_key(choice_id: str, picture_id: str = "") -> str:
    """Return the key of the bytes of a kept picture, or, without its id, the folder of all those of a choice."""
    return f"{FOLDER}/{choice_id}/{picture_id}" if picture_id else f"{FOLDER}/{choice_id}"


def measure_uncertainty(version: ModelVersion, logits: Sequence[float]) -> float:
    """Return how little the scores decide, 0 to 1.

    Single-label: 1 minus the margin, the difference of the two best scores (Scheffer, Decomain and Wrobel 2001, "Active
    Hidden Markov Models for Information Extraction"). Multi-label: that of the label whose score is nearest to its
    threshold: 1 at the threshold, 0 for a score of 0 or 1.
    """
    if version.problem_type is ProblemType.MULTI_LABEL:
        thresholds = version.thresholds or (0.5,)
        each = thresholds * len(logits) if len(thresholds) == 1 else thresholds
        return max(_nearness(_sigmoid(logit), threshold) for logit, threshold in zip(logits, each, strict=True))
    top = max(logits)
    total = math.fsum(math.exp(logit - top) for logit in logits)
    best, second = heapq.nlargest(2, (*logits, -math.inf))
    return 1.0 - (1.0 - math.exp(second - best)) / total


def _sigmoid(logit: float) -> float:
    return 1.0 / (1.0 + math.exp(-logit)) if logit > -700 else 0.0


def _nearness(score: float, threshold: float) -> float:
    """Return 1 for a score at its threshold, down to 0 for a score of 0 or 1."""
    if score < threshold:
        return score / threshold
    return (1.0 - score) / (1.0 - threshold) if threshold < 1 else 1.0


def without_copies(
    candidates: Sequence[SeenPicture], known: Collection[str], fingerprints: Sequence[int | None]
) -> list[SeenPicture]:
    """Return the candidates, in their order, of which no copy is known, and of copies among themselves the first.

    `known` are the SHA-256 of pictures that have a label, or need none, and `fingerprints` those of their pictures. A
    near-duplicate is a copy; which pictures are near is decided among all together, see near_duplicates.py.
    """
    new = [candidate for candidate in candidates if candidate.sha256 not in known]
    marks = [*fingerprints, *(candidate.fingerprint for candidate in new)]
    before = len(fingerprints)
    copies = {position for group in near_duplicates.groups(marks) for position in group[1:]}
    return [candidate for position, candidate in enumerate(new, before) if position not in copies]
