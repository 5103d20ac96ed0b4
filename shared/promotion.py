"""Which version answers by default: promote, roll back, and give another one a share of the traffic (use-cases).

    trained ──> compared with the default ──> canary, if wanted ──> promoted ──> rolled back, if it must be
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared import errors, models
from shared.models import State, Version

if TYPE_CHECKING:
    from shared.records import Unit
    from shared.tools import Tools


@dataclass(frozen=True)
class Canary:
    """A version that answers a share of the requests that name no version."""

    version_id: str
    share: float
    """0 to 1."""
    compared: int
    """Pictures of that version that the default was shown as well."""
    agreed: int
    """Of those: the same best label."""
    since: float
    """Unix seconds."""


def promote(tools: Tools, tenant: str, name: str, version: str) -> Version:
    """Make a version the default; raises NotFound, Conflict: not READY, or not compared with the default yet."""
    with tools.records.write() as r:
        chosen, default = _both(r, tenant, name, version)
        if chosen.id == default.id:
            raise errors.Conflict(f"Version {chosen.version} is the default of {name!r} already.")
        if not r.comparisons.between(chosen.id, default.id):
            raise errors.Conflict(
                f"Version {chosen.version} of {name!r} has not been compared with version {default.version}, the "
                "default: compare them first, and look at the report."
            )
        r.promotions.promote(chosen, default, tools.now())
    return _again(tools, chosen)


def rollback(tools: Tools, tenant: str, name: str) -> Version:
    """Make the version the default that was it before the last promotion; raises NotFound, Conflict."""
    with tools.records.write() as r:
        known = [version for version in _own(r, tenant, name, lock=True) if version.state is State.READY]
        previous = r.promotions.take_back(tenant, name, {version.id for version in known})
        found = next((version for version in known if version.id == previous), None)
        if found is None:
            raise errors.Conflict(f"No promotion of {name!r} is left to undo.")
        r.versions.make_default(found)
        r.promotions.clear_canary(tenant, name)
    return _again(tools, found)


def set_canary(tools: Tools, tenant: str, name: str, version: str, share: float) -> Canary:
    """Let a version answer that share of the requests that name no version, from now on.

    It takes the place of another canary of that model, and its counts begin anew. Raises NotFound, BadOption, Conflict
    (not READY, withheld, or the default).
    """
    if not 0 < share <= 1:
        raise errors.BadOption(f"share must be above 0 and at most 1, not {share}")
    with tools.records.write() as r:
        chosen, default = _both(r, tenant, name, version)
        if chosen.id == default.id:
            raise errors.Conflict(f"Version {chosen.version} is the default of {name!r}, and answers everything.")
        if chosen.withheld:
            raise errors.Conflict(f"Version {chosen.version} of {name!r} is withheld: deploy it, or promote it.")
        made = Canary(chosen.id, share, 0, 0, tools.now())
        r.promotions.clear_canary(tenant, name)
        r.promotions.set_canary(made)
    return made


def clear_canary(tools: Tools, tenant: str, name: str) -> None:
    """Let the default answer everything again; raises NotFound when there is no canary."""
    canary(tools, tenant, name)
    with tools.records.write() as r:
        r.promotions.clear_canary(tenant, name)


def canary(tools: Tools, tenant: str, name: str) -> Canary:
    """The model's canary with its counts; raises NotFound."""
    with tools.records.read() as r:
        for version in _own(r, tenant, name):
            if version.canary and (found := r.promotions.canary(version)):
                return found
    raise errors.NotFound(f"The model {name!r} has no canary.")


def deploy(tools: Tools, tenant: str, name: str, version: str) -> Version:
    """Let a version answer on the wire that it was withheld from; one that does already stays so.

    Raises NotFound, Forbidden for the catalogue, Conflict unless it is READY or about to be.
    """
    with tools.records.write() as r:
        chosen = models.pick(_own(r, tenant, name), name, version)
        if chosen.state not in (State.READY, State.CHECKING):
            raise errors.Conflict(f"Version {version} of {name!r} is {chosen.state}, not ready: {chosen.reason}")
        r.versions.withhold(chosen.id, False)
    return _again(tools, chosen)


def undeploy(tools: Tools, tenant: str, version_id: str) -> Version:
    """Withhold a version again; the other wires do not ask. Raises NotFound where it is none, or is withheld."""
    with tools.records.write() as r:
        chosen = r.versions.get(version_id)
        if chosen is None or chosen.tenant != tenant or chosen.withheld:
            raise errors.NotFound(f"There is no deployment {version_id}.")
        r.versions.withhold(version_id, True)
    return _again(tools, chosen)


def _own(r: Unit, tenant: str, name: str, *, lock: bool = False) -> list[Version]:
    """The tenant's versions of a model; with `lock` nobody else moves its default or canary meanwhile."""
    found = r.versions.named(tenant, name, lock=lock)
    if not found:
        raise errors.NotFound(f"There is no model {name!r}.")
    if any(version.tenant != tenant for version in found):
        raise errors.Forbidden(f"Model {name!r} belongs to the catalogue and stays as it is.")
    return found


def _both(r: Unit, tenant: str, name: str, version: str) -> tuple[Version, Version]:
    """(the version named, the default one)."""
    known = _own(r, tenant, name, lock=True)
    chosen, default = models.pick(known, name, version), models.pick(known, name)
    if chosen.state is not State.READY:
        raise errors.Conflict(f"Version {chosen.version} of {name!r} is {chosen.state}, not ready.")
    return chosen, default


def _again(tools: Tools, version: Version) -> Version:
    with tools.records.read() as r:
        return r.versions.get(version.id) or version
