"""The model check takes a version from `checking` to `ready`: fetch the weights, verify that they fit and that this
worker reproduces the example."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import replace
from pathlib import Path

import httpx

from shared import errors
from shared.adapters.storage import Storage
from shared.domain import lock_names
from shared.domain.models import (
    PRETRAINED,
    ImportOptions,
    ModelExample,
    ModelState,
    ModelVersion,
    example_key,
    trained_weights_key,
)
from shared.services import absences, model_checks
from worker import download, examination, families, rejection_fit, scratch, weights
from worker.engine import Loaded
from worker.process import WorkerProcess
from worker.time_limit import LOADING, time_limit
from worker.training.pictures import waiting_for_blobs

log = logging.getLogger(__name__)

PAUSE = 5.0
"""Seconds before a check is tried again that storage or disk did not allow; each try may copy gigabytes."""


def check(worker: WorkerProcess, version_id: str) -> None:
    """Check one version, unless a check of it is running; the result is stored as its state."""
    container = worker.container
    with container.queue.locks.renewed(lock_names.model_check(version_id)) as held:
        if not held:
            return
        began = time.monotonic()
        try:
            version = model_checks.begin(container, version_id)
        except model_checks.CheckEnded:
            return
        try:
            with scratch.folder() as folder:
                ready = _examine(worker, version, folder)
            container.absences.forget(version.id)
            with waiting_for_blobs(container):
                ready = _with_rule(worker, ready, worker.engine.load(ready), version.import_options)
        except (errors.BadRequest, errors.NotFound) as error:
            model_checks.refuse(container, version, error.message)
        except download.NotFetched as error:
            model_checks.fail(container, version, error.message)
        except FileNotFoundError:
            _wait_for_file(worker, version)
        except errors.Unavailable as error:
            _wait_for_another_try(worker, version, error.message)
        except Exception as error:
            if errors.is_disk_full(error):
                _wait_for_another_try(worker, version, "The disk of the worker is full; make room on it.")
                return
            log.exception("checking %s version %s", version.name, version.version)
            model_checks.refuse(container, version, f"it cannot be loaded: {type(error).__name__}")
        else:
            model_checks.finish(container, version, ready, time.monotonic() - began)
            log.info("model %s version %s is ready", ready.name, ready.version)


def _with_rule(
    worker: WorkerProcess, ready: ModelVersion, model: Loaded, options: ImportOptions | None
) -> ModelVersion:
    """Return the version with the rejection rule that its import asked for; raises as `rejection_fit.fit` does."""
    if options is None or options.rejection is None:
        return ready
    model_checks.report_progress(worker.container, ready.id, "its rejection rule is being fitted")
    return replace(ready, rejection=rejection_fit.fit(worker, ready, model, options.rejection))


def _wait_for_file(worker: WorkerProcess, version: ModelVersion) -> None:
    """Leave a version whose file the storage lacks to another try; refuse it once that was waited for long enough."""
    try:
        # Not by its names: two tenants may have a model of the same name.
        file = f"the file of {version.name} version {version.version}"
        since = absences.wait_for(worker.container, version.id, file)
    except errors.Unavailable as error:
        _wait_for_another_try(worker, version, error.message)
    else:
        reason = f"its file has been missing from the storage since {since}; import it again"
        model_checks.fail(worker.container, version, reason)


def _wait_for_another_try(worker: WorkerProcess, version: ModelVersion, why: str) -> None:
    """Leave the version to maintenance, which has it checked again once the lock of this check is released."""
    log.warning("checking %s version %s: %s", version.name, version.version, why)
    model_checks.put_back(worker.container, version, why)
    worker.stopping.wait(PAUSE)


def _examine(worker: WorkerProcess, version: ModelVersion, folder: Path) -> ModelVersion:
    """Turn the weights into a checked blob with labels, preprocessing and an example; raises BadRequest kinds."""
    path = _weights_file(worker, version, folder)
    stored = store_examined(worker.container.storage, version, path, folder)
    # The pictures of checks are deleted, and the rejection rule is a property of the version.
    kept = replace(stored.import_options, checks=(), rejection=None) if stored.import_options else None
    return replace(stored, source=PRETRAINED if version.source == PRETRAINED else "", import_options=kept)


def store_examined(storage: Storage, version: ModelVersion, path: Path, folder: Path) -> ModelVersion:
    """Return the version with the weights in `path`, READY unless the engine finds otherwise; raises BadRequest kinds.

    Its blobs are stored, its row is not. The engine, which loads it next, checks that it reproduces its example.
    """
    trained = bool(version.training_id)
    own = ImportOptions(problem_type=version.problem_type.value, thresholds=version.thresholds) if trained else None
    options = version.import_options or own or ImportOptions()
    wanted = examination.Wanted(
        architecture=version.architecture,
        labels=version.labels,
        # The result of an earlier check is not reused: only the import's request counts, if there is one.
        preprocessing=version.preprocessing if trained else version.wanted_preprocessing,
        name=version.name,
        family=version.family if trained else "",
        config=version.config,
        options=options,
        checks=[examination.Check(check.name, storage.read(check.blob), check.label) for check in options.checks],
        published=version.source == PRETRAINED,
    )
    with time_limit(LOADING, f"examining model {version.name} version {version.version}"):
        examined = examination.examine(path, folder, wanted)
    blob = f"weights/{examined.checksum}{examined.path.suffix}"
    if version.training_id:  # two trainings with identical weights must not be able to delete each other's blob
        blob = trained_weights_key(version.training_id, examined.checksum)
    storage.put_from(str(examined.path), blob)
    example = example_key(version.id)
    storage.write(example, examined.example_png)
    return replace(
        version,
        family=examined.family,
        architecture=examined.architecture,
        config=examined.config,
        problem_type=examined.problem_type,
        thresholds=examined.thresholds,
        state=ModelState.READY,
        reason="",
        labels=examined.labels,
        preprocessing=examined.preprocessing,
        preset=examined.preset,
        weights=blob,
        checksum=examined.checksum,
        size=examined.path.stat().st_size,
        example=ModelExample(example, examined.example_logits),
    )


def _weights_file(worker: WorkerProcess, version: ModelVersion, folder: Path) -> Path:
    """Fetch the weights into the folder, or find the installed file; returns its path."""
    container = worker.container
    target = folder / "weights"
    if version.source != PRETRAINED:
        container.storage.fetch_to(version.source, str(target))
        return target
    try:
        pretrained = families.pretrained(version.architecture)
    except errors.BadOption as error:
        raise errors.BadOption(f"{error.message} For weights of your own, send the file as `weights`.") from None
    if pretrained is None:
        raise errors.BadOption(f"There are no pretrained weights for {version.architecture!r}; import a weights file.")
    if pretrained.path is not None:
        return _installed(pretrained.path, pretrained.sha256_prefix, version.architecture)
    if not pretrained.url:
        raise errors.BadOption(
            f"The weights of {version.architecture!r} lie on a model hub, from which nothing is fetched here. Download "
            f"them yourself, and import the model from a file: give `weights`, `architecture` {version.architecture} "
            "and `labels`."
        )
    url = pretrained.url
    if container.settings.weights_url:
        url = f"{container.settings.weights_url.rstrip('/')}/{os.path.basename(httpx.URL(url).path)}"
    reported = -1

    def on_progress(done: int, total: int | None) -> None:
        nonlocal reported
        percent = 100 * done // total if total else 0
        if percent // 5 != reported // 5:
            reported = percent
            message = f"its weights are being fetched, {percent} % so far"
            model_checks.report_progress(container, version.id, message)

    download.fetch(url, pretrained.sha256_prefix, target, container.settings.weights_timeout, on_progress)
    return target


def _installed(path: Path, sha256: str, architecture: str) -> Path:
    """Return the file from an installed package; raises BadWeights unless it is the published file, byte for byte."""
    if not path.is_file():
        raise errors.BadWeights(f"The weights of {architecture!r} are missing: install inferq again.")
    if sha256 and weights.checksum(path) != sha256:
        raise errors.BadWeights(f"The weights of {architecture!r} are damaged (their SHA-256 differs): install inferq "
                                "again.")  # fmt: skip
    return path
