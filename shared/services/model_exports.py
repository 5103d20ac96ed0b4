"""Use-cases of exports find the weights of a version in the wanted format, and have a worker convert them to ONNX.

    request ──converted?──> the weights
                 └── no ──> task `export` ──> worker: converts, checks, stores ──event──> the waiting request

The state of a conversion is in the storage, not in SQL: the converted file, or the reason for which there is none. Both
can be made again at any time, and go when the version is removed.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from shared import errors
from shared.container import Container
from shared.domain import lock_names
from shared.domain.model_exports import ExportFormat, conversion_key, failure_key, stored_format
from shared.domain.models import ModelState, ModelVersion
from shared.services import models

_AGAIN = 3.0
"""Seconds after which a caller should ask again for weights that are being converted."""


@dataclass(frozen=True)
class Weights:
    """The weights of a version in a format, or why they are not there."""

    key: str
    """The key of their blob."""
    ready: bool
    failure: str = ""
    """Why they could not be converted; empty while they are being converted."""


def find_version(container: Container, tenant: str, name: str, version: str) -> ModelVersion:
    """Return the READY version; raises NotFound, and Conflict for any other state.

    Weights that are absent are not fetched for an export: a caller that asks again would start the next fetch.
    """
    found = models.get_version(container, tenant, name, version)
    if found.state is not ModelState.READY:
        advice = "Add the model first." if found.state is ModelState.ABSENT else found.reason
        raise errors.Conflict(f"Model {found.name} version {found.version} is {found.state}, not ready. {advice}")
    return found


def request_weights(container: Container, version: ModelVersion, kind: ExportFormat) -> Weights:
    """Return the weights; if they have to be converted first, a worker is asked to. Raises BadOption."""
    stored = stored_format(version)
    if stored is kind:
        return Weights(version.weights, ready=True)
    if stored is ExportFormat.ONNX:
        raise errors.BadOption(
            f"{version.name} {version.version} is an ONNX file, which is a whole network and has no architecture that "
            "safetensors could be put into; export it with format=onnx."
        )
    found = _look(container, version)
    if not found.ready and not found.failure:
        with suppress(errors.Unavailable):  # a caller that asks again sends it again
            if not container.queue.locks.is_held(lock_names.model_export(version.id)):
                container.queue.notifications.send_task("export", version.id)
    return found


async def wait(container: Container, version: ModelVersion, weights: Weights, seconds: float) -> Weights:
    """Return the weights when their conversion has ended, or as they are after `seconds`."""
    return await container.waiters.until(
        version.id,
        lambda: weights if weights.ready else _look(container, version),
        lambda found: found.ready or bool(found.failure),
        seconds,
    )


def must_be_ready(container: Container, version: ModelVersion, weights: Weights) -> None:
    """Raise Conflict if the conversion failed, ModelNotReady while it runs.

    A failure is reported once; the next request has the weights converted again, for example by a newer release.
    """
    if weights.failure:
        container.storage.delete(failure_key(version.id))
        raise errors.Conflict(f"{version.name} {version.version} cannot be exported as ONNX: {weights.failure}")
    if not weights.ready:
        raise errors.ModelNotReady(
            f"{version.name} {version.version} is being converted to ONNX. Ask again in a moment.", retry_after=_AGAIN
        )


def begin(container: Container, version_id: str) -> ModelVersion | None:
    """Return the version whose conversion a worker is to run; None if there is nothing to do any more."""
    version = models.find_version_by_id(container, version_id)
    if version is None or version.state is not ModelState.READY:
        return None
    found = _look(container, version)
    return None if found.ready or found.failure else version


def finish(container: Container, version: ModelVersion, converted: bytes) -> None:
    """Store the converted weights and announce them; those of a version that was removed meanwhile are removed."""
    container.storage.write(conversion_key(version.id), converted)
    if models.find_version_by_id(container, version.id) is None:
        container.storage.delete(conversion_key(version.id))
    container.queue.events.publish([version.id])


def fail(container: Container, version: ModelVersion, reason: str) -> None:
    """Store and announce why the weights cannot be converted."""
    container.storage.write(failure_key(version.id), reason.encode())
    if models.find_version_by_id(container, version.id) is None:
        container.storage.delete(failure_key(version.id))
    container.queue.events.publish([version.id])


def _look(container: Container, version: ModelVersion) -> Weights:
    key = conversion_key(version.id)
    with suppress(FileNotFoundError):
        container.storage.read(key, 0, 1)
        return Weights(key, ready=True)
    with suppress(FileNotFoundError):
        return Weights(key, ready=False, failure=container.storage.read(failure_key(version.id)).decode())
    return Weights(key, ready=False)
