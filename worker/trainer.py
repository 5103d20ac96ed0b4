"""A trainer process: a thread that trains, and a thread that loads archives, compares versions and indexes pictures."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator

import torch

from shared import errors
from shared.adapters.queue.locks import RenewedLock
from shared.container import Container
from shared.domain import lock_names
from shared.domain.comparisons import Comparison
from shared.domain.datasets import Dataset
from shared.domain.trainings import Training
from shared.services import (
    absences,
    comparison_runs,
    dataset_import,
    dataset_import_runs,
    search_index_runs,
    training_runs,
)
from worker.engine import Engine
from worker.training import pipeline, run
from worker.training.cancellation import Stopped
from worker.training.compare import compare
from worker.training.indexing import index
from worker.training.pictures import Missing, waiting_for_blobs

log = logging.getLogger(__name__)


class Trainer:
    """Two threads that wait until they are woken; each then does all the work there is, and waits again.

    Loading and comparing must not wait for hours behind a training, and none of the three may block Celery's thread,
    which receives the next notification.
    """

    def __init__(self, container: Container) -> None:
        self.container = container
        self.id = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self.stopping = threading.Event()
        self.engine = Engine(container.settings, container.storage.read)
        self._busy = False
        self._served: dict[str, float] = {}  # tenant -> when loading an archive of that tenant last began
        self._training = _Thread("training", self._train_all, self.stopping)
        self._errands = _Thread("errands", self._run_errands, self.stopping)
        self._since = container.now()

    def register(self) -> None:
        """Start the threads. No call to the queue is made here: Celery would swallow its error, and the trainer would
        stay idle."""
        torch.set_num_threads(self.container.settings.trainer_threads or max(1, len(os.sched_getaffinity(0)) - 1))
        for target in (self._run_heartbeat, self._training.run, self._errands.run):
            threading.Thread(target=target, name=target.__qualname__, daemon=True).start()
        self.wake_training()
        self.wake_errands()

    def wake_training(self) -> None:
        """Wake the thread that trains."""
        self._training.wake()

    def wake_errands(self) -> None:
        """Wake the thread that loads archives, compares versions and indexes pictures."""
        self._errands.wake()

    def stop(self, seconds: float = 25.0) -> None:
        """Store the work in progress; returns when that is done or `seconds` have passed."""
        until = time.monotonic() + seconds
        self.stopping.set()
        for thread in (self._training, self._errands):
            thread.wake()
        for thread in (self._training, self._errands):
            thread.ended.wait(max(0.0, until - time.monotonic()))
        self.container.queue.counts.close()
        with contextlib.suppress(errors.Unavailable):
            self.container.queue.workers.deregister(self.id, "trainers")

    # trainings

    def _train_all(self) -> None:
        while not self.stopping.is_set() and any(map(self._train, training_runs.list_waiting(self.container))):
            pass  # a training has ended: the waiting trainings and their order may have changed

    def _train(self, waiting: Training) -> bool:
        """Return True if this trainer acquired the training's lock and worked on it."""
        with self.container.queue.locks.renewed(lock_names.training(waiting.id)) as held:
            if held is None:
                return False
            try:
                training = training_runs.begin(self.container, waiting)
            except training_runs.TrainingEnded:
                return False
            self._busy = True
            try:
                return self._run(training, held)
            finally:
                self._busy = False

    def _run(self, training: Training, held: RenewedLock) -> bool:
        """Train, and store the outcome; returns False when the training is to be tried again, but not at once."""
        log.info("training %s, model %s, dataset %d", training.id, training.name, training.dataset_id)
        try:
            current = run.begin(self.container, training, self.stopping, held.lost)
            with waiting_for_blobs(self.container):
                pipeline.train(self.container, current, self.engine)
        except training_runs.TrainingEnded:
            log.info("training %s was cancelled", training.id)
            training_runs.discard(self.container, training.id)
        except Stopped:
            if not held.lost.is_set():
                self._put_back(training, "waiting for a trainer")
        except errors.Unavailable as error:
            log.warning("training %s: %s", training.id, error.message)
            if training.is_over(self.container.now()):
                training_runs.fail(self.container, training.id, error.code, error.message)
                return True
            self._put_back(training, f"{error.message} It goes on when that is back.")
            return False
        except Exception as error:
            if errors.is_disk_full(error) and not training.is_over(self.container.now()):
                log.warning("training %s: %s", training.id, error)
                self._put_back(training, "The disk of the trainer is full; make room on it. It goes on when there is.")
                return False
            if held.lost.is_set():
                log.warning("training %s, which another trainer has by now", training.id, exc_info=True)
            else:
                training_runs.fail(self.container, training.id, *_explain(error, training.id))
        return not held.lost.is_set()

    def _put_back(self, training: Training, message: str) -> None:
        """Put the training back without counting an attempt: an outage or the stop of this trainer is not a crash."""
        with contextlib.suppress(training_runs.TrainingEnded):
            training_runs.put_back(self.container, training.id, message)

    # loading and comparing

    def _run_errands(self) -> None:
        """Compare versions first, which is quick, then load archives, then index pictures for searches; the order is
        determined again after each archive, and after each turn of an index."""
        tried: set[int] = set()
        while not self.stopping.is_set():
            self._compare_all()
            waiting = dataset_import_runs.list_waiting(self.container, self._served)
            untried = [dataset for dataset in waiting if dataset.id not in tried]
            if untried:
                tried.add(untried[0].id)
                self._load(untried[0])
            elif not self._index():
                return

    def _index(self) -> bool:
        """Work on the first index that no other trainer works on; return False if there is none."""
        for waiting in search_index_runs.list_wanted(self.container):
            with self.container.queue.locks.renewed(lock_names.search_index(waiting)) as held:
                if held and not self.stopping.is_set():
                    index(self.container, self.engine, waiting, self.stopping)
                    return True
        return False

    def _load(self, dataset: Dataset) -> None:
        self._served[dataset.tenant] = self.container.now()
        with self.container.queue.locks.renewed(lock_names.dataset_import(dataset.id)) as held:
            if held and not self.stopping.is_set():
                dataset_import.load(self.container, dataset.id, self.stopping)
        self.wake_training()  # a training may have waited for this dataset

    def _compare_all(self) -> None:
        for comparison in comparison_runs.list_waiting(self.container):
            with self.container.queue.locks.renewed(lock_names.comparison(comparison.id)) as held:
                if held and not self.stopping.is_set():
                    self._compare(comparison)

    def _compare(self, comparison: Comparison) -> None:
        """Compare, and store the outcome."""
        container = self.container
        try:
            begun = comparison_runs.begin(container, comparison)
        except comparison_runs.ComparisonEnded:
            return
        try:
            with waiting_for_blobs(self.container):
                report = self._report(begun)
        except (errors.Unavailable, Stopped) as error:
            log.warning("comparison %s waits: %s", begun.id, error)
            comparison_runs.put_back(container, begun)
        except errors.InferqError as error:
            comparison_runs.fail(container, begun.id, error.message)
        except Exception as error:
            log.exception("comparison %s", begun.id)
            reason = f"The comparison failed by {type(error).__name__}; the log of the trainer says more."
            comparison_runs.fail(container, begun.id, reason)
        else:
            comparison_runs.finish(container, begun.id, report)

    def _report(self, begun: Comparison) -> dict[str, object]:
        candidate, baseline, pictures = comparison_runs.get_material(self.container, begun)
        try:
            models = self.engine.load(candidate), self.engine.load(baseline)
        except FileNotFoundError:
            raise Missing(
                "The weights of one of the versions are not in the storage any more; import or train it again.",
                f"{candidate.weights} or {baseline.weights}",
            ) from None

        def on_progress(_done: int) -> None:
            if self.stopping.is_set():
                raise Stopped

        return compare(self.container.storage, *models, *pictures, on_progress)

    # heartbeat

    def _run_heartbeat(self) -> None:
        while True:
            try:
                self._heartbeat()
            except errors.Unavailable as error:
                log.warning("heartbeat: %s", error.message)
            if self.stopping.wait(self.container.settings.lease / 4):
                return

    def _heartbeat(self) -> None:
        about = {
            "since": self._since,
            "device": str(self.engine.device),
            "busy": self._busy,
            "missing": absences.report(self.container),
        }
        self.container.queue.workers.heartbeat(self.id, about, self.container.settings.lease, role="trainers")


def _explain(error: Exception, training_id: str) -> tuple[str, str]:
    """Return (code, reason) of a failed training, for a caller who cannot read the trainer's log."""
    # On the CPU, torch raises a plain RuntimeError when memory runs out.
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(error):
        why = "There is too little memory for it; take a smaller batch_size, another base, or a larger machine."
        return "out_of_memory", why
    if isinstance(error, errors.InferqError):
        return error.code, error.message
    log.error("training %s", training_id, exc_info=error)
    if errors.is_disk_full(error):
        return "disk_full", "The disk of the trainer is full; make room on it, then train again."
    return "training_failed", f"The training failed by {type(error).__name__}; the log of the trainer says more."


class _Thread:
    """Runs a step whenever it is woken, one at a time; an exception ends only that run of the step."""

    def __init__(self, name: str, step: Callable[[], None], stopping: threading.Event) -> None:
        self._name = name
        self._step = step
        self._stopping = stopping
        self._woken = threading.Event()
        self.ended = threading.Event()

    def wake(self) -> None:
        """Request another run of the step."""
        self._woken.set()

    def run(self) -> None:
        """Run the step whenever it is requested, until `stopping` is set."""
        for _ in self._turns():
            try:
                self._step()
            except errors.Unavailable as error:
                log.warning("%s: %s", self._name, error.message)
            except Exception:  # the next notification starts another run
                log.exception(self._name)
        self.ended.set()

    def _turns(self) -> Iterator[None]:
        while not self._stopping.is_set():
            self._woken.wait()
            self._woken.clear()
            if not self._stopping.is_set():
                yield
