"""inferq: an archive is loaded and a training runs, both by the code that a trainer runs."""

from __future__ import annotations

import dataclasses
import io
import tarfile
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from bench.training import figures
from bench.training.base import Base
from bench.training.contestants import Answer
from bench.training.result import WANTED
from bench.training.tasks import Draw, Picture
from inferq.errors import InferqError
from shared.domain.datasets import Dataset, DatasetState
from shared.domain.keys import DEFAULT_TENANT
from shared.domain.models import STANDARD, ModelVersion
from shared.domain.trainings import TrainingParameters, TrainingRequest
from shared.services import dataset_import, datasets, models, training_runs, trainings
from worker.training import pipeline, run

PARAMETER = "reject_below_precision"


class Ours:
    """Trainings with the parameters that a caller gets who chooses none, the seed of the draw, and a rejection rule:
    the network and its scores are the same without one."""

    name = "inferq"

    def __init__(self, base: Base, parameters: dict[str, Any] | None = None) -> None:
        """`parameters` are chosen besides these."""
        self._base = base
        self._parameters = ({PARAMETER: WANTED} if has_parameter(PARAMETER) else {}) | (parameters or {})
        self._datasets: dict[tuple[str, int], Dataset] = {}

    def learn(self, draw: Draw) -> Answer:
        """Train, and answer the held back pictures with the version as it serves."""
        version, evidence, seconds = self.train(draw)
        logits = self.logits(version, [picture.data for picture in draw.held_back])
        suspects = evidence.get("suspects")
        order = [version.labels.index(label) for label in draw.task.labels]
        return Answer(
            figures.softmax(logits)[:, order],
            seconds,
            figures.softmax(logits * evidence["temperature"])[:, order],
            f"{evidence['method']}, temperature {evidence['temperature']:.2f}",
            None if suspects is None else [suspect["name"] for suspect in suspects],
            version,
        )

    def train(self, draw: Draw) -> tuple[ModelVersion, dict[str, Any], float]:
        """Return the trained version, its evidence, and the seconds without the test and the rejection rule; raises
        InferqError."""
        container, dataset = self._base.container, self._dataset(draw)
        name = f"{draw.task.name}-{draw.seed}"
        parameters = TrainingParameters(seed=draw.seed, **self._parameters)
        request = TrainingRequest(dataset.id, name, base=STANDARD, parameters=parameters)
        training = training_runs.begin(container, trainings.submit(container, DEFAULT_TENANT, request))
        began = time.perf_counter()
        pipeline.train(
            container, run.begin(container, training, threading.Event(), threading.Event()), self._base.engine
        )
        seconds = time.perf_counter() - began
        ended = trainings.get(container, DEFAULT_TENANT, training.id)
        version = models.find_version_by_id(container, training.id)
        if version is None or ended.evidence is None:
            raise InferqError(f"training {name} has made no version: {ended.error}")
        spent = ended.evidence["seconds"]
        return version, dict(ended.evidence), seconds - spent.get("testing", 0.0) - spent.get("rejection", 0.0)

    def logits(self, version: ModelVersion, pictures: Sequence[bytes], task: str = "classify") -> np.ndarray:
        """Return the logits (N, C) of pictures, in the order of the version's labels; or what the task names."""
        model = self._base.engine.load(version)
        batches = (pictures[start : start + model.max_batch] for start in range(0, len(pictures), model.max_batch))
        return np.concatenate(
            [model.forward([model.prepare(data) for data in batch], task).numpy() for batch in batches]
        )

    def _dataset(self, draw: Draw) -> Dataset:
        """Return the dataset of a draw: the pictures that are held back are its test pictures."""
        if known := self._datasets.get((draw.task.name, draw.seed)):
            return known
        container = self._base.container
        given = [(picture, label) for picture, label in zip(draw.training, draw.given, strict=True)]
        files = [("training", *each) for each in given] + [("test", each, each.label) for each in draw.held_back]
        key = dataset_import.keep_upload(container, DEFAULT_TENANT, io.BytesIO(_archive(draw.task.labels, files)))
        created = datasets.create(container, DEFAULT_TENANT, f"{draw.task.name} {draw.seed}", source=key)
        dataset_import.load(container, created.id)
        loaded = datasets.get(container, DEFAULT_TENANT, created.id)
        if loaded.state is not DatasetState.READY:
            raise InferqError(f"dataset {loaded.name} is {loaded.state}: {loaded.message}")
        self._datasets[draw.task.name, draw.seed] = loaded
        return loaded


def has_parameter(name: str) -> bool:
    """Return True if this inferq's trainings have such a parameter."""
    return any(field.name == name for field in dataclasses.fields(TrainingParameters))


def _archive(labels: Sequence[str], files: Iterable[tuple[str, Picture, int]]) -> bytes:
    with io.BytesIO() as file:
        with tarfile.open(fileobj=file, mode="w") as tar:
            for split, picture, label in files:
                member = tarfile.TarInfo(f"{split}/{labels[label]}/{picture.name}")
                member.size = len(picture.data)
                tar.addfile(member, io.BytesIO(picture.data))
        return file.getvalue()
