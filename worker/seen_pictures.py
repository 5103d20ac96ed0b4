"""A worker's part of seen pictures: it measures how unsure the answers are, and keeps the pictures that seem worth
labelling, of tenants that have chosen so.

    forward, with the features from the same pass ──> take ──> outcomes recorded ──> keep

The pictures of other tenants are neither measured nor kept, and a batch without any of a tenant that has chosen runs as
ever.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor
from torch.nn import functional

from shared import errors
from shared.container import Container
from shared.domain.jobs import BOTH, AnswerOptions, Outcome
from shared.domain.models import ModelVersion
from shared.domain.rejection import Doubt
from shared.domain.scores import choose_scoring
from shared.domain.seen_pictures import LEAST_UNCERTAINTY, SeenChoice, measure_uncertainty
from shared.domain.stored_images import id_of_blob
from shared.domain.stream_entry import StreamEntry
from shared.imaging import fingerprints, images
from shared.services import job_pictures, seen_pictures
from shared.services.seen_pictures import Sighting
from worker.engine import top_k

log = logging.getLogger(__name__)

AT_ONCE = 32
"""Most pictures of a batch that are kept, those that are the most worth labelling: the next batch waits meanwhile."""
FRESH = 2.0
"""Seconds for which it is remembered which tenants keep the pictures of a model."""
_SIDE = 256
"""Pixels of the shorter side that a JPEG keeps at least when it is decoded for its fingerprint."""


class SeenChoices:
    """Which tenants keep the pictures of which models, as it was FRESH seconds ago at most; one of a worker process."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self._known: dict[str, tuple[Mapping[str, SeenChoice], float]] = {}
        """Model -> (choices by tenant, when they were read in monotonic seconds)."""

    def get(self, model: str) -> Mapping[str, SeenChoice]:
        """Return tenant -> its choice for models of that name; while the database is away, as they were before."""
        choices, read_at = self._known.get(model, ({}, -FRESH))
        if time.monotonic() >= read_at + FRESH:
            try:
                choices = seen_pictures.list_choices(self._container, model)
            except errors.Unavailable as error:
                log.warning("which pictures are kept: %s", error.message)
            self._known[model] = choices, time.monotonic()
        return choices


class _Taken(NamedTuple):
    """What a pass of the network has given for a picture."""

    entry: StreamEntry
    logits: Tensor
    """(C,)."""
    features: Tensor
    """(D,); of a network without features the logits."""
    uncertainty: float


class SeenPictures:
    """Keeps pictures that one version has answered; its errors never reach callers, who have their answers by then."""

    def __init__(self, container: Container, choices: SeenChoices, version: ModelVersion) -> None:
        self._container, self._choices, self._version = container, choices, version
        self._taken: dict[tuple[str, int], _Taken] = {}
        """(Job id, position) -> what is known of pictures whose outcomes are not recorded yet."""

    def kept(self, entries: Sequence[StreamEntry]) -> list[int]:
        """Return the places of the entries whose tenants keep pictures.

        It is asked once for a pass, and both `task` and `take` get its answer: a choice may be made while the network
        runs.
        """
        choices = self._choices.get(self._version.name)
        return [number for number, entry in enumerate(entries) if entry.tenant in choices] if choices else []

    def task(self, task: str, kept: Sequence[int]) -> str:
        """Return the task of the pass that answers `task`: one that has the features as well, if they are needed."""
        is_needed = task == "classify" and self._version.has_features
        return BOTH if is_needed and kept else task

    def take(self, task: str, entries: Sequence[StreamEntry], kept: Sequence[int], rows: Tensor) -> Tensor:
        """Measure the rows of a pass that `task` has named; return them as a pass of `task` alone gives them."""
        if task == "features":
            return rows
        count = len(self._version.labels)
        for number in kept:
            entry, logits, features = entries[number], rows[number, :count], rows[number, count:]
            if self._version.has_features and not len(features):
                continue  # logits in their place could not be compared with the features of the others
            uncertainty = measure_uncertainty(self._version, logits.tolist())
            features = features if self._version.has_features else logits
            self._taken[entry.job_id, entry.position] = _Taken(entry, logits, features, uncertainty)
        return rows[:, :count] if task == "classify" else rows

    def keep(self, outcomes: Sequence[Outcome]) -> None:
        """Keep the pictures that seem worth labelling, after their outcomes are recorded."""
        taken, self._taken = self._taken, {}
        if not taken:
            return
        try:
            worthy = sorted(_worthy(taken, outcomes), key=lambda pair: -_worth(*pair))[:AT_ONCE]
            for tenant, choice in self._choices.get(self._version.name).items():
                own = [self._sighting(*pair) for pair in worthy if pair[0].entry.tenant == tenant]
                if sightings := [sighting for sighting in own if sighting]:
                    seen_pictures.keep(self._container, choice, sightings)
        except errors.InferqError as error:
            log.warning("pictures that %s has seen are not kept: %s", self._version.name, error.message)
        except Exception:
            log.exception("pictures that %s has seen are not kept", self._version.name)

    def _sighting(self, taken: _Taken, is_unlike: bool) -> Sighting | None:
        """Return the picture with its present answer; None if it was removed meanwhile."""
        try:
            data = job_pictures.read(self._container, taken.entry)
        except FileNotFoundError:
            return None
        function = choose_scoring(self._version, AnswerOptions()).function_to_apply
        (((label, score),),) = top_k(taken.logits[None], self._version.labels, 1, function)
        features = functional.normalize(taken.features.float(), dim=0).half().numpy().tobytes()
        entry = taken.entry
        return Sighting(
            entry.job_id, entry.position, self._version.id, data, label, score, taken.uncertainty, is_unlike,
            _fingerprint(data), features, id_of_blob(entry.blob),
        )  # fmt: skip


def _worthy(taken: Mapping[tuple[str, int], _Taken], outcomes: Sequence[Outcome]) -> list[tuple[_Taken, bool]]:
    """Return (picture, True if it is unlike the training) of those that were answered and may be suggested."""
    found = []
    for outcome in outcomes:
        each = taken.get((outcome.job_id, outcome.position))
        if each is None or outcome.error_code:
            continue
        is_unlike = outcome.verdict is not None and outcome.verdict.doubt == Doubt.UNLIKE_TRAINING
        if is_unlike or each.uncertainty >= LEAST_UNCERTAINTY:
            found.append((each, is_unlike))
    return found


def _worth(taken: _Taken, is_unlike: bool) -> float:
    """Return what the `worth` of its SeenPicture will be."""
    return 1.0 if is_unlike else taken.uncertainty


def _fingerprint(data: bytes) -> int | None:
    """Return the fingerprint as the loader of datasets makes it; None if the picture cannot be read once more."""
    try:
        return fingerprints.fingerprint(images.decode(data, exif=False, mode="RGB", at_least=_SIDE))
    except errors.BadPicture:
        return None
