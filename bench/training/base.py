"""The base of all contestants: the default model of a new installation, in a temporary folder."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import fakeredis
import numpy as np
import torch
from torch import nn

from inferq.errors import InferqError
from migrations.__main__ import upgrade
from shared.adapters.database.unit_of_work import Database
from shared.adapters.queue.queue import Queue
from shared.adapters.queue.waiters import Waiters
from shared.adapters.rate_limits import RateLimits
from shared.container import Container, own_storage
from shared.domain.models import ALL_TENANTS, STANDARD, ModelState
from shared.services import catalogue, models
from shared.settings import Settings
from worker import families, model_check, weights
from worker.engine import Loaded
from worker.process import WorkerProcess


class Base:
    """An installation without processes, whose default model is checked: SQLite, a folder, and a queue in memory."""

    def __init__(self, folder: Path) -> None:
        """Set it up in the folder; raises InferqError if the default model is refused."""
        folder.mkdir(parents=True)
        url = f"sqlite:///{folder}/inferq.db"
        upgrade(url)
        settings = Settings(
            database_url=url,
            storage_url=f"file://{folder}/blobs",
            durability="process",
            torch_threads=torch.get_num_threads(),
        )
        database = Database(url, durability=settings.durability)
        queue = Queue(settings, fakeredis.FakeRedis(decode_responses=True))
        queue.notifications.send_task = lambda task, *arguments: True  # type: ignore[method-assign]
        self.container = Container(
            database=database, queue=queue, storage=own_storage(settings, database), now=time.time, settings=settings,
            waiters=Waiters(queue), rate_limits=RateLimits(settings),
        )  # fmt: skip
        self.container.storage.ping()
        catalogue.fill(self.container)
        worker = WorkerProcess(self.container)
        self.engine = worker.engine
        listed = models.get_version(self.container, ALL_TENANTS, STANDARD)
        model_check.check(worker, listed.id)
        self.version = models.get_version(self.container, ALL_TENANTS, STANDARD)
        if self.version.state is not ModelState.READY:
            raise InferqError(f"the default model is {self.version.state}: {self.version.reason}")
        self._features: dict[bytes, np.ndarray] = {}
        self._spent = 0.0

    def close(self) -> None:
        """Close all connections."""
        self.container.close()

    def load(self) -> Loaded:
        """Return the model as a worker serves it."""
        return self.engine.load(self.version)

    def network(self, labels: int) -> nn.Module:
        """Return the plain network with a new, random head for so many labels."""
        family = families.load(self.version.family)
        data = self.container.storage.read(self.version.weights)
        network = weights.restore(
            family, self.version.architecture, self.load().preprocessing, data, self.version.config
        )
        name, head = families.head(network)
        if not isinstance(head, nn.Linear):
            raise InferqError(f"the head of {self.version.architecture} is no linear layer")
        network.set_submodule(name, nn.Linear(head.in_features, labels))
        return network

    def features(self, pictures: Sequence[bytes]) -> np.ndarray:
        """Return what the network computes before its head, (N, D); each picture is computed once."""
        model = self.load()
        missing = [data for data in dict.fromkeys(pictures) if data not in self._features]
        began = time.perf_counter()
        for start in range(0, len(missing), model.max_batch):
            batch = missing[start : start + model.max_batch]
            rows = model.forward([model.prepare(data) for data in batch], "features")
            self._features |= dict(zip(batch, rows.numpy(), strict=True))
        self._spent += time.perf_counter() - began
        return np.stack([self._features[data] for data in pictures])

    @property
    def seconds_per_picture(self) -> float:
        """The mean time of the features of a picture."""
        return self._spent / max(1, len(self._features))
