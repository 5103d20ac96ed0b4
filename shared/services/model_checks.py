"""A worker uses these use-cases to begin the check of a version, report its progress, and end it with any result."""

from __future__ import annotations

from dataclasses import replace

from shared.container import Container
from shared.domain.models import CHECK_SECONDS, PRETRAINED, ModelState, ModelVersion, uploads


class CheckEnded(Exception):
    """The version is not being checked any more; there is nothing to do."""


def begin(container: Container, version_id: str) -> ModelVersion:
    """Begin the check of a version whose lock the worker holds, and return it with this attempt; raises CheckEnded.

    A version that has used up its attempts fails here with the reason.
    """
    with container.database.read() as uow:
        version = uow.model_versions.find(version_id)
    if version is None or version.state is not ModelState.CHECKING:
        raise CheckEnded
    if version.attempts >= container.settings.max_attempts:
        fail(container, version, f"{version.attempts} workers crashed while checking it")
        raise CheckEnded
    begun = replace(version, attempts=version.attempts + 1, reason="a worker is checking it")
    _store(container, begun)
    return begun


def report_progress(container: Container, version_id: str, message: str) -> None:
    """Store the progress of the check as the version's reason; its state stays the same."""
    with container.database.write() as uow:
        uow.model_versions.set_reason(version_id, message)


def refuse(container: Container, begun: ModelVersion, reason: str) -> None:
    """End the check of a version that cannot be served as it is."""
    _store(container, replace(begun, state=ModelState.REFUSED, reason=reason))


def fail(container: Container, begun: ModelVersion, reason: str) -> None:
    """End a check that could not be completed: ABSENT if the weights are published and can be fetched again, else
    REFUSED."""
    state = ModelState.ABSENT if begun.source == PRETRAINED else ModelState.REFUSED
    _store(container, replace(begun, state=state, reason=reason))


def put_back(container: Container, begun: ModelVersion, why: str) -> None:
    """Leave the version to another attempt, without counting this one: storage or disk did not allow the check."""
    _store(container, replace(begun, attempts=begun.attempts - 1, reason=f"{why} It is checked when that is over."))


def finish(container: Container, begun: ModelVersion, ready: ModelVersion, seconds: float) -> None:
    """Store the READY version; callers of a model that is being checked try again after `seconds`, the duration of the
    last check."""
    _store(container, ready)
    with container.database.write() as uow:
        uow.key_values.set(CHECK_SECONDS, f"{seconds:.1f}")
    for key in uploads(begun):
        container.storage.delete(key)  # only now: if this worker crashes, the next attempt needs it


def _store(container: Container, version: ModelVersion) -> None:
    """Store and announce the version; one that was removed meanwhile stays removed."""
    with container.database.write() as uow:
        if uow.model_versions.find(version.id) is not None:
            uow.model_versions.save(version)
    container.queue.events.publish([version.id])
