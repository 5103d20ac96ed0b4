"""Which version answers by default: promote, roll back, and give another one a share of the traffic (use-cases).

trained ──> compared with the default ──> canary, if wanted ──> promoted ──> rolled back, if it must be
"""

from __future__ import annotations

from shared import errors
from shared.container import Container, UnitOfWork
from shared.domain.models import ModelState, ModelVersion, pick
from shared.domain.promotions import Canary


def promote(container: Container, tenant: str, name: str, version: str) -> ModelVersion:
    """Make a version the default; raises NotFound, Conflict: not READY, or not compared with the default yet."""
    with container.database.write() as uow:
        chosen, default = _both(uow, tenant, name, version)
        if chosen.id == default.id:
            raise errors.Conflict(f"Version {chosen.version} is the default of {name!r} already.")
        if not uow.comparisons.between(chosen.id, default.id):
            raise errors.Conflict(
                f"Version {chosen.version} of {name!r} has not been compared with version {default.version}, the "
                "default: compare them first, and look at the report."
            )
        uow.promotions.promote(chosen, default, container.now())
    return _again(container, chosen)


def rollback(container: Container, tenant: str, name: str) -> ModelVersion:
    """Make the version the default that was it before the last promotion; raises NotFound, Conflict."""
    with container.database.write() as uow:
        known = [version for version in _own(uow, tenant, name, lock=True) if version.state is ModelState.READY]
        previous = uow.promotions.take_back(tenant, name, {version.id for version in known})
        found = next((version for version in known if version.id == previous), None)
        if found is None:
            raise errors.Conflict(f"No promotion of {name!r} is left to undo.")
        uow.model_versions.make_default(found)
        uow.promotions.clear_canary(tenant, name)
    return _again(container, found)


def set_canary(container: Container, tenant: str, name: str, version: str, share: float) -> Canary:
    """Let a version answer that share of the requests that name no version, from now on.

    It takes the place of another canary of that model, and its counts begin anew. Raises NotFound, BadOption, Conflict
    (not READY, withheld, or the default).
    """
    if not 0 < share <= 1:
        raise errors.BadOption(f"share must be above 0 and at most 1, not {share}")
    with container.database.write() as uow:
        chosen, default = _both(uow, tenant, name, version)
        if chosen.id == default.id:
            raise errors.Conflict(f"Version {chosen.version} is the default of {name!r}, and answers everything.")
        if chosen.withheld:
            raise errors.Conflict(f"Version {chosen.version} of {name!r} is withheld: deploy it, or promote it.")
        made = Canary(chosen.id, share, 0, 0, container.now())
        uow.promotions.clear_canary(tenant, name)
        uow.promotions.set_canary(made)
    return made


def clear_canary(container: Container, tenant: str, name: str) -> None:
    """Let the default answer everything again; raises NotFound when there is no canary."""
    canary(container, tenant, name)
    with container.database.write() as uow:
        uow.promotions.clear_canary(tenant, name)


def canary(container: Container, tenant: str, name: str) -> Canary:
    """The model's canary with its counts; raises NotFound."""
    with container.database.read() as uow:
        for version in _own(uow, tenant, name):
            if version.canary and (found := uow.promotions.canary(version)):
                return found
    raise errors.NotFound(f"The model {name!r} has no canary.")


def find_default_beside(container: Container, version: ModelVersion) -> ModelVersion | None:
    """The READY default version of the model, while `version` is its canary; None otherwise."""
    with container.database.read() as uow:
        is_canary = uow.promotions.is_canary(version.id)
        known = uow.model_versions.named(version.tenant, version.name) if is_canary else []
    return next((one for one in known if one.is_default and one.state is ModelState.READY), None)


def count_agreement(container: Container, version_id: str, compared: int, agreed: int) -> None:
    """Count pictures that a canary and the default were both shown, and those that both called the same."""
    with container.database.write() as uow:
        uow.promotions.count(version_id, compared, agreed)


def deploy(container: Container, tenant: str, name: str, version: str) -> ModelVersion:
    """Let a version answer on the wire that it was withheld from; one that does already stays so.

    Raises NotFound, Forbidden for the catalogue, Conflict unless it is READY or about to be.
    """
    with container.database.write() as uow:
        chosen = pick(_own(uow, tenant, name), name, version)
        if chosen.state not in (ModelState.READY, ModelState.CHECKING):
            raise errors.Conflict(f"Version {version} of {name!r} is {chosen.state}, not ready: {chosen.reason}")
        uow.model_versions.withhold(chosen.id, False)
    return _again(container, chosen)


def undeploy(container: Container, tenant: str, version_id: str) -> ModelVersion:
    """Withhold a version again; the other wires do not ask. Raises NotFound where it is none, or is withheld."""
    with container.database.write() as uow:
        chosen = uow.model_versions.get(version_id)
        if chosen is None or chosen.tenant != tenant or chosen.withheld:
            raise errors.NotFound(f"There is no deployment {version_id}.")
        uow.model_versions.withhold(version_id, True)
    return _again(container, chosen)


def _own(uow: UnitOfWork, tenant: str, name: str, *, lock: bool = False) -> list[ModelVersion]:
    """The tenant's versions of a model; with `lock` nobody else moves its default or canary meanwhile."""
    found = uow.model_versions.named(tenant, name, lock=lock)
    if not found:
        raise errors.NotFound(f"There is no model {name!r}.")
    if any(version.tenant != tenant for version in found):
        raise errors.Forbidden(f"Model {name!r} belongs to the catalogue and stays as it is.")
    return found


def _both(uow: UnitOfWork, tenant: str, name: str, version: str) -> tuple[ModelVersion, ModelVersion]:
    """(the version named, the default one)."""
    known = _own(uow, tenant, name, lock=True)
    chosen, default = pick(known, name, version), pick(known, name)
    if chosen.state is not ModelState.READY:
        raise errors.Conflict(f"Version {chosen.version} of {name!r} is {chosen.state}, not ready.")
    return chosen, default


def _again(container: Container, version: ModelVersion) -> ModelVersion:
    with container.database.read() as uow:
        return uow.model_versions.get(version.id) or version
