"""Explanations: heat maps of the pictures whose jobs ask for them, drawn and stored before their outcomes.

The networks that answer are optimised, recorded or converted, and have no gradients; so the plain network of a version
is built a second time, and one such network at most is kept.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import nn

from shared import errors
from shared.container import Container
from shared.domain.explanations import explained_label
from shared.domain.jobs import Outcome
from shared.domain.models import ModelVersion
from shared.imaging import images
from shared.services import explanations, job_pictures
from worker import families, grad_cam, heat_map, optimise, preprocess, weights
from worker.batch import Batch, Input
from worker.engine import Loaded
from worker.time_limit import LOADING, time_limit

log = logging.getLogger(__name__)

Place = tuple[str, int]
"""The id of a job, and the position of a picture in it."""
Stored = tuple[Mapping[Place, int], Mapping[Place, str]]
"""The bytes of each heat map, and why there is none of the other pictures."""


class _Plain(NamedTuple):
    """The plain network of a version, and where its last map of features is."""

    version: ModelVersion
    network: nn.Module
    at: grad_cam.FeatureMap


class Explainer:
    """What a worker explains its answers with, in one thread at a time."""

    def __init__(self, container: Container, device: torch.device) -> None:
        """The networks run on the device."""
        self._container = container
        self._device = device
        self._kept: _Plain | None = None

    def explained(self, model: Loaded, batch: Batch, retry: Callable[[Callable[[], Stored]], Stored]) -> list[Outcome]:
        """Return the outcomes of a batch of explained pictures after their heat maps are stored; where there is none,
        the outcome says why. `retry` repeats a step while it raises Unavailable."""
        answers = {(given.job_id, given.position): given for given in batch.outcomes if not given.error_code}
        places = [(prepared.entry.job_id, prepared.entry.position) for prepared in batch.inputs]
        asked = {place: prepared for place, prepared in zip(places, batch.inputs, strict=True) if place in answers}
        labels = {
            place: explained_label(given.entry.explain or "", answers[place].result) for place, given in asked.items()
        }
        none = "No label reaches its threshold; name the label to explain with explain_label."
        why = {place: none for place in asked if not labels[place]}
        wanted = {place: (prepared, labels[place]) for place, prepared in asked.items() if labels[place]}
        sizes: Mapping[Place, int] = {}
        if wanted:
            sizes, reasons = retry(lambda: self._draw_and_store(model, wanted))
            why |= reasons
        return [
            replace(given, error=why.get(place, given.error), explanation_size=sizes.get(place, 0))
            for given in batch.outcomes
            for place in [(given.job_id, given.position)]
        ]

    def _draw_and_store(self, model: Loaded, wanted: Mapping[Place, tuple[Input, str]]) -> Stored:
        """Store the heat maps of pictures for their labels; return the bytes of each, and why, where there is none.
        Raises Unavailable.

        The answer stays whatever happens to its explanation.
        """
        version = model.version
        try:
            with time_limit(LOADING, f"explaining answers of model {version.name} version {version.version}"):
                crops = [prepared.tensor for prepared, _ in wanted.values()]
                heat = self.heat(model, crops, [label for _, label in wanted.values()])
                pictures = {place: self._read(prepared) for place, (prepared, _) in wanted.items()}
                maps = {
                    place: _draw(data, model, hot, exif=wanted[place][0].entry.exif)
                    for (place, data), hot in zip(pictures.items(), heat, strict=True)
                    if data is not None
                }
        except errors.Unavailable:
            raise
        except grad_cam.CannotExplain as error:
            return {}, dict.fromkeys(wanted, f"The answers of {version.architecture} cannot be explained. {error}")
        except Exception as error:
            log.exception("answers of model %s version %s are not explained", version.name, version.version)
            return {}, dict.fromkeys(wanted, f"The explanation failed: {type(error).__name__}.")
        explanations.store(self._container, maps)
        removed = "The picture was removed before its explanation was drawn."
        return {place: len(png) for place, png in maps.items()}, dict.fromkeys(wanted.keys() - maps.keys(), removed)

    def heat(self, model: Loaded, crops: Sequence[torch.Tensor], labels: Sequence[str]) -> torch.Tensor:
        """Return the heat of prepared pictures for a label each: (N, rows, columns), from 0 to 1.

        Of several outputs with the same label, the one with the highest logit is explained. Raises CannotExplain,
        BadWeights, Unavailable, FileNotFoundError.
        """
        pixels = preprocess.normalise(preprocess.stack(crops).to(self._device), model.preprocessing)
        with optimise.ALONE:  # the model check may trace another model in its thread
            plain = self._load(model, pixels[:1])
            names = model.version.labels
            outputs = [[index for index, name in enumerate(names) if name == label] for label in labels]
            return grad_cam.heat(plain.network, plain.at, pixels, outputs)

    def _load(self, model: Loaded, pixels: torch.Tensor) -> _Plain:
        kept, version = self._kept, model.version
        if kept is None or (kept.version.id, kept.version.checksum) != (version.id, version.checksum):
            self._kept = None  # before the next is built: two would need the memory of two
            data = self._container.storage.read(version.weights)
            family = families.load(version.family) if version.family else families.find(version.architecture)
            network = weights.restore(family, version.architecture, model.preprocessing, data, version.config)
            network = network.to(self._device)
            kept = self._kept = _Plain(version, network, grad_cam.find_map(network, pixels))
            log.info("explains %s version %s by its module %s", version.name, version.version, kept.at.module)
        return kept

    def _read(self, prepared: Input) -> bytes | None:
        try:
            return job_pictures.read(self._container, prepared.entry)
        except FileNotFoundError:
            return None


def _draw(data: bytes, model: Loaded, heat: torch.Tensor, *, exif: bool) -> bytes:
    picture = images.decode(data, exif=exif, mode="RGB", at_least=heat_map.LONGEST_SIDE)
    return heat_map.draw(picture, heat, preprocess.part_shown(picture.size, model.preprocessing))
