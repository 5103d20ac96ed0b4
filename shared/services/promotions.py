"""Promotions decide which version answers by default: promote, roll back, or give a canary a share of the traffic.

trained ──> compared with the default ──> canary, if wanted ──> promoted ──> rolled back, if it must be
"""

from __future__ import annotations

from shared import errors
from shared.container import Container, UnitOfWork
from shared.domain.models import ModelState, ModelVersion, pick
from shared.domain.promotions import Canary


def promote(container: Container, tenant: str, name: str, version: str) -> ModelVersion:
    """Make a version the default; raises NotFound, Conflict (not READY, or not compared with the default yet)."""
    with container.database.write() as uow:
        chosen, default = _chosen_and_default(uow, tenant, name, version)
        if chosen.id == default.id:
            raise errors.Conflict(f"Version {chosen.version} is the default of {name!r} already.")
        if not uow.comparisons.find_between(chosen.id, default.id):
            raise errors.Conflict(
                f"Version {chosen.version} of {name!r} has not been compared with version {default.version}, the "
                "default: compare them first, and look at the report."
            )
        uow.promotions.promote(chosen, default, container.now())
    return _read_again(container, chosen)


def rollback(container: Container, tenant: str, name: str) -> ModelVersion:
    """Make the version that was the default before the last promotion the default; raises NotFound, Conflict."""
    with container.database.write() as uow:
        versions = [version for version in _own(uow, tenant, name, lock=True) if version.state is ModelState.READY]
        previous = uow.promotions.take_back(tenant, name, {version.id for version in versions})
        restored = next((version for version in versions if version.id == previous), None)
        if restored is None:
            raise errors.Conflict(f"No promotion of {name!r} is left to undo.")
        uow.model_versions.make_default(restored)
        uow.promotions.clear_canary(tenant, name)
    return _read_again(container, restored)


def find_earlier(container: Container, tenant: str) -> dict[str, str]:
    """Return model -> the version that a rollback would make its default, for models that have one."""
    with container.database.read() as uow:
        return uow.promotions.earlier(tenant)


def set_canary(container: Container, tenant: str, name: str, version: str, share: float) -> Canary:
    """Make a version the canary, which answers `share` (0 to 1) of the requests that name no version.

    It replaces another canary of that model, and its counts start at 0. Raises NotFound, BadOption, Conflict (not
    READY, waits for its deployment, or is the default).
    """
    if not 0 < share <= 1:
        raise errors.BadOption(f"share must be above 0 and at most 1, not {share}")
    with container.database.write() as uow:
        chosen, default = _chosen_and_default(uow, tenant, name, version)
        if chosen.id == default.id:
            raise errors.Conflict(f"Version {chosen.version} is the default of {name!r}, and answers everything.")
        if chosen.requires_deployment:
            raise errors.Conflict(f"Version {chosen.version} of {name!r} is not deployed: deploy it, or promote it.")
        canary = Canary(chosen.id, share, 0, 0, container.now())
        uow.promotions.clear_canary(tenant, name)
        uow.promotions.set_canary(canary)
    return canary


def clear_canary(container: Container, tenant: str, name: str) -> None:
    """Remove the canary, so that the default answers all requests again; raises NotFound when there is no canary."""
    canary(container, tenant, name)
    with container.database.write() as uow:
        uow.promotions.clear_canary(tenant, name)


def canary(container: Container, tenant: str, name: str) -> Canary:
    """Return the model's canary with its counts; raises NotFound."""
    with container.database.read() as uow:
        for version in _own(uow, tenant, name):
            if version.canary and (counted := uow.promotions.find_canary(version)):
                return counted
    raise errors.NotFound(f"The model {name!r} has no canary.")


def find_default_beside(container: Container, version: ModelVersion) -> ModelVersion | None:
    """Return the READY default version of the model while `version` is its canary; None otherwise."""
    with container.database.read() as uow:
        is_canary = uow.promotions.is_canary(version.id)
        versions = uow.model_versions.named(version.tenant, version.name) if is_canary else []
    return next(
        (candidate for candidate in versions if candidate.is_default and candidate.state is ModelState.READY), None
    )


def count_agreement(container: Container, version_id: str, compared: int, agreed: int) -> None:
    """Add to the counts of pictures that a canary and the default both ran on, and on which their answers agreed."""
    with container.database.write() as uow:
        uow.promotions.count(version_id, compared, agreed)


def deploy(container: Container, tenant: str, name: str, version: str) -> ModelVersion:
    """Make a version answer on the wire that requires a deployment; a deployed version stays deployed.

    Raises NotFound, Forbidden for the catalogue, Conflict unless it is READY or being checked.
    """
    with container.database.write() as uow:
        chosen = pick(_own(uow, tenant, name), name, version)
        if chosen.state not in (ModelState.READY, ModelState.CHECKING):
            raise errors.Conflict(f"Version {version} of {name!r} is {chosen.state}, not ready: {chosen.reason}")
        uow.model_versions.set_requires_deployment(chosen.id, False)
    return _read_again(container, chosen)


def undeploy(container: Container, tenant: str, version_id: str) -> ModelVersion:
    """Withhold a version again; only the wire that requires a deployment is affected.

    Raises NotFound if there is no such version, or if it is not deployed.
    """
    with container.database.write() as uow:
        chosen = uow.model_versions.find(version_id)
        if chosen is None or chosen.tenant != tenant or chosen.requires_deployment:
            raise errors.NotFound(f"There is no deployment {version_id}.")
        uow.model_versions.set_requires_deployment(version_id, True)
    return _read_again(container, chosen)


def _own(uow: UnitOfWork, tenant: str, name: str, *, lock: bool = False) -> list[ModelVersion]:
    """Return the tenant's versions of a model; `lock` keeps other transactions from changing its default or canary."""
    versions = uow.model_versions.named(tenant, name, lock=lock)
    if not versions:
        raise errors.NotFound(f"There is no model {name!r}.")
    if any(version.tenant != tenant for version in versions):
        raise errors.Forbidden(f"Model {name!r} belongs to the catalogue and stays as it is.")
    return versions


def _chosen_and_default(uow: UnitOfWork, tenant: str, name: str, version: str) -> tuple[ModelVersion, ModelVersion]:
    """Return (the named version, the default version)."""
    versions = _own(uow, tenant, name, lock=True)
    chosen, default = pick(versions, name, version), pick(versions, name)
    if chosen.state is not ModelState.READY:
        raise errors.Conflict(f"Version {chosen.version} of {name!r} is {chosen.state}, not ready.")
    return chosen, default


def _read_again(container: Container, version: ModelVersion) -> ModelVersion:
    with container.database.read() as uow:
        return uow.model_versions.find(version.id) or version
