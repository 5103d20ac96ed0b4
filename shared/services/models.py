"""Use-cases of models find the version that answers, and add, check, alias, list and remove versions."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import uuid6

from shared import errors
from shared.container import Container, UnitOfWork
from shared.domain.drift import measure_name
from shared.domain.engines import converted_folder, report_name
from shared.domain.model_exports import conversion_key, failure_key
from shared.domain.models import (
    ALIAS_PATTERN,
    ALL_TENANTS,
    CATALOGUE,
    CHECK_SECONDS,
    NAME_PATTERN,
    PRETRAINED,
    ModelAlias,
    ModelImport,
    ModelState,
    ModelVersion,
    check_task,
    example_key,
    next_version,
    pick,
    plots_folder,
    trained_weights_key,
    uploads,
)
from shared.domain.rejection import bank_key, fit_name
from shared.domain.trainings import Training
from shared.services import default_models, kept_bytes, seen_pictures

PUBLISHED = ModelImport(PRETRAINED)


def get_ready_version(container: Container, tenant: str, name: str = "", version: str = "") -> ModelVersion:
    """Return the READY version behind a name or alias; this may start a download of its weights.

    The first use of a model of the catalogue fetches its weights. The request that causes the download is refused with
    the number of seconds after which to try again, rather than held: it is not known yet whether the weights are
    available at all. Raises NotFound, ModelRefused, ModelAbsent, or ModelNotReady, whose message describes the next
    step.
    """
    found = _answering(container, tenant, name, version)
    return _must_be_ready(container, found, fetch(container, found) if found.state is ModelState.ABSENT else found)


async def until_ready(container: Container, tenant: str, name: str, seconds: float) -> ModelVersion:
    """Return the READY version as `get_ready_version` does, after a wait of up to `seconds` while it is checked."""
    found = _answering(container, tenant, name, "")
    current = fetch(container, found) if found.state is ModelState.ABSENT else found
    if current.state is ModelState.CHECKING:
        found = current = await until_checked(container, current, seconds)
    return _must_be_ready(container, found, current)


def _answering(container: Container, tenant: str, name: str, version: str) -> ModelVersion:
    return get_version(container, tenant, name, version, chance=random.random())  # noqa: S311 - it is no secret


def _must_be_ready(container: Container, found: ModelVersion, current: ModelVersion) -> ModelVersion:
    """Return the current version if it is READY; raises as `get_ready_version` does. `found` is as it was before its
    weights were sent for."""
    if current.state is ModelState.READY:
        return current
    where, reason = f"model {current.name} version {current.version}", found.reason
    if current.state is ModelState.REFUSED:
        raise errors.ModelRefused(f"The {where} was refused: {reason}")
    if current.state is ModelState.ABSENT:
        raise errors.ModelAbsent(f"The {where} is not at hand: {reason}")
    with container.database.read() as uow:
        expected = float(uow.key_values.get(CHECK_SECONDS) or 0) or None
    if found.state is ModelState.CHECKING:
        text = f"The {where} is being checked: {reason or 'a worker is loading it'}."
    elif reason:
        text = f"The {where} is not at hand; the last try said: {reason}"
    else:
        text = f"The {where} is not at hand yet: its weights are being fetched now. Try again in a moment."
    raise errors.ModelNotReady(text, retry_after=expected)


def get_version(
    container: Container, tenant: str, name: str = "", version: str = "", chance: float = 1.0
) -> ModelVersion:
    """Return the version behind a name or alias, in any state; no name means the default model. Raises NotFound.

    If no version is named, a canary replaces the default when `chance`, from 0 to 1, is below the canary's share.
    """
    name, versions = container.lookups.get(("versions", tenant, name), lambda: _versions(container, tenant, name))
    canary = next((each for each in versions if chance < each.canary and each.state is ModelState.READY), None)
    return canary if canary and not version else pick(versions, name, version)


def _versions(container: Container, tenant: str, name: str) -> tuple[str, list[ModelVersion]]:
    """Return (name, versions behind it, oldest first); raises NotFound if there are none."""
    with container.database.read() as uow:
        name = name or default_models.resolve(container, uow, tenant).name
        versions = default_models.versions_behind(uow, tenant, name)
        names = [] if versions else sorted({visible.name for visible in uow.model_versions.visible(tenant)})
    if not versions:
        raise errors.NotFound(f"There is no model {name!r}; there are: {', '.join(names[:20])}.")
    return name, versions


def find_version_by_id(container: Container, version_id: str) -> ModelVersion | None:
    """Return the version with that id, of any tenant; None when it has been removed."""
    with container.database.read() as uow:
        return uow.model_versions.find(version_id)


def find_versions_by_id(container: Container, version_ids: Collection[str]) -> dict[str, ModelVersion]:
    """Return id -> version, of any tenant, read together; removed versions are left out."""
    with container.database.read() as uow:
        versions = {version_id: uow.model_versions.find(version_id) for version_id in version_ids}
    return {version_id: version for version_id, version in versions.items() if version}


def list_visible(container: Container, tenant: str) -> list[ModelVersion]:
    """Return every version that the tenant may use, its own and the catalogue's."""
    with container.database.read() as uow:
        return uow.model_versions.visible(tenant)


def alias(container: Container, tenant: str, alias: str, name: str) -> ModelAlias:
    """Make `alias` refer to a model on every wire; raises NotFound, BadOption, Conflict."""
    if not ALIAS_PATTERN.fullmatch(alias):
        raise errors.BadOption("an alias is a name or OWNER/NAME of letters, digits, '.', '_' and '-', 100 each")
    stored = ModelAlias(tenant, alias, get_version(container, tenant, name).name)
    with container.database.write() as uow:
        if uow.model_versions.named(tenant, alias):
            raise errors.Conflict(f"There is a model {alias!r}; an alias would never be looked at.")
        if busy := uow.trainings.find_live_of(tenant, alias):
            raise errors.Conflict(f"The training {busy.id} makes a model {alias!r}; an alias would never be looked at.")
        uow.model_aliases.set(stored)
    return stored


def unalias(container: Container, tenant: str, alias: str) -> None:
    """Delete an alias; raises NotFound when there is no such alias."""
    with container.database.write() as uow:
        if not uow.model_aliases.delete(tenant, alias):
            raise errors.NotFound(f"There is no alias {alias!r}.")


def add(
    container: Container,
    tenant: str,
    name: str,
    *,
    architecture: str = "",
    version: str = "",
    imported: ModelImport = PUBLISHED,
) -> ModelVersion:
    """Register a version and have a worker check it; raises BadOption, Conflict, QuotaExceeded.

    Without `imported` it has the published weights of its architecture, by default the one of that name; that of an
    imported file is found by the worker.
    A model of the catalogue by its own name is fetched for all tenants, not registered a second time.
    """
    if not NAME_PATTERN.fullmatch(name) or (version and not NAME_PATTERN.fullmatch(version)):
        raise errors.BadOption(
            "names and versions are made of letters, digits, '.', '_' and '-', 100 at most; an architecture with a "
            "slash in its name is given apart from the name of the model"
        )
    plain = imported == PUBLISHED and not version
    if plain and (listed := _in_catalogue(container, tenant, name, architecture)):
        return fetch(container, listed)
    if imported.source == PRETRAINED:  # for uploads there was room when they were stored
        kept_bytes.check(container, tenant, 1)
    with container.database.read() as uow:
        earlier = uow.model_versions.named(tenant, name)
    forget(container, [other for other in earlier if other.tenant == tenant and other.state is ModelState.REFUSED])
    with container.database.write() as uow:
        if uow.model_aliases.find(tenant, name):
            raise errors.Conflict(f"{name!r} is an alias, and would no longer be looked at; remove that first.")
        versions = [other for other in uow.model_versions.named(tenant, name) if other.tenant == tenant]
        version = version or next_version(versions)
        if any(other.version == version for other in versions):
            raise errors.Conflict(f"Model {name!r} has a version {version!r} already; take another or remove it first.")
        added = ModelVersion(
            id=str(uuid6.uuid7()),
            tenant=tenant,
            name=name,
            version=version,
            family="",
            architecture=architecture or (name if imported.source == PRETRAINED else ""),
            state=ModelState.CHECKING,
            created_at=container.now(),
            is_default=not versions,
            labels=imported.labels,
            source=imported.source,
            reason="waiting for a worker",
            wanted_preprocessing=imported.preprocessing,
            import_options=imported.options,
            size=imported.size,
        )
        uow.model_versions.add(added)
    container.queue.notifications.send_task(check_task(added), added.id)
    return added


def _in_catalogue(container: Container, tenant: str, name: str, architecture: str) -> ModelVersion | None:
    """Return the catalogue's version of that name and architecture, unless the tenant has its own model of that name.

    Returns None otherwise.
    """
    if not any(name == listed.name and architecture in ("", listed.architecture) for listed in CATALOGUE):
        return None
    with container.database.read() as uow:
        return next((listed for listed in uow.model_versions.named(tenant, name) if listed.tenant == ALL_TENANTS), None)


async def wait(container: Container, version: ModelVersion, seconds: float) -> ModelVersion:
    """Return the version when its check has ended, or its current state after `seconds`; raises BadWeights if refused.

    A refused version is deleted, so that nothing stays half-registered; a version of the catalogue stays.
    """
    version = await until_checked(container, version, seconds)
    if version.state is ModelState.REFUSED:
        if version.tenant != ALL_TENANTS:
            forget(container, [version])
        raise errors.BadWeights(version.reason)
    return version


async def until_checked(container: Container, version: ModelVersion, seconds: float) -> ModelVersion:
    """Return the version when its check has ended, with any result, or its current state after `seconds`."""
    return await container.waiters.until(
        version.id,
        lambda: find_version_by_id(container, version.id) or version,
        lambda current: current.state is not ModelState.CHECKING,
        seconds,
    )


def remove(container: Container, tenant: str, name: str, version: str = "") -> None:
    """Remove a version, or all; raises NotFound, Forbidden for the catalogue, Conflict while the version is needed.

    The default is needed as long as it answers and another version could replace it: only a promotion decides which
    version replaces the default.
    """
    with container.database.write() as uow:
        versions = uow.model_versions.named(tenant, name)
        chosen = [pick(versions, name, version)] if version else versions
        if not chosen:
            raise errors.NotFound(f"There is no model {name!r}.")
        if any(leaving.tenant != tenant for leaving in chosen):
            raise errors.Forbidden(f"Model {name!r} belongs to the catalogue and cannot be removed.")
        if version:
            _check_default_may_leave(chosen[0], versions)
        # Deleted first: on PostgreSQL this waits for submissions that hold the version, and blocks later submissions.
        used = _drop_rows(uow, chosen)
        _check_unused(uow, tenant, name, chosen, whole=not version)
        remaining = [own for own in uow.model_versions.named(tenant, name) if own.tenant == tenant]
        if not uow.model_versions.named(tenant, name) and default_models.is_chosen(uow, tenant, name):
            raise errors.Conflict(f"Model {name!r} is your default: choose another one first, or take the choice back.")
        if not version:  # the model's trainings that made no version are removed with it
            uow.trainings.delete_of(tenant, name)
        if not remaining:
            uow.model_aliases.delete_of(tenant, name)  # else they would refer to a catalogue model of the same name
        elif not any(candidate.is_default for candidate in remaining):
            ready = [candidate for candidate in remaining if candidate.state is ModelState.READY]
            uow.model_versions.make_default(ready[-1] if ready else remaining[0])
    _drop_blobs(container, chosen, used)
    seen_pictures.drop_removed(container, tenant, name)


def forget(container: Container, chosen: Sequence[ModelVersion]) -> None:
    """Delete versions with all rows that refer to them, and the blobs that no other version refers to."""
    with container.database.write() as uow:
        used = _drop_rows(uow, chosen)
    _drop_blobs(container, chosen, used)


def drop_unregistered(container: Container, training_id: str) -> None:
    """Remove the blobs that a training has made and not registered; its version would have the training's id."""
    made = (trained_weights_key(training_id), bank_key(training_id))
    for blob in (*(key for folder in made for key in container.storage.list(folder)), example_key(training_id)):
        container.storage.delete(blob)
    drop_plots(container, training_id)


def drop_plots(container: Container, training_id: str) -> None:
    """Remove the plots of a training's evidence."""
    for key in container.storage.list(plots_folder(training_id)):
        container.storage.delete(key)


def _check_default_may_leave(leaving: ModelVersion, versions: Sequence[ModelVersion]) -> None:
    """Raise Conflict for a READY default while another version is READY: no promotion has chosen its successor."""
    ready = [candidate for candidate in versions if candidate.state is ModelState.READY]
    if leaving.is_default and leaving in ready and len(ready) > 1:
        raise errors.Conflict(
            f"Version {leaving.version} is the default of {leaving.name!r}: promote another one first, or remove the "
            "whole model."
        )


def _check_unused(uow: UnitOfWork, tenant: str, name: str, chosen: Sequence[ModelVersion], *, whole: bool) -> None:
    """Raise Conflict while jobs wait for these versions, or a training starts from them or makes another version."""
    busy = uow.jobs.left_by_version()
    if waiting := sum(busy.get(leaving.id, 0) for leaving in chosen):
        raise errors.Conflict(f"{waiting} pictures wait for model {name!r}; cancel their jobs, or let them finish.")
    training = uow.trainings.find_live_of(tenant, name) if whole else None
    if using := [*([training] if training else []), *uow.trainings.live_from([leaving.id for leaving in chosen])]:
        raise errors.Conflict(f"The training {using[0].id} needs model {name!r}; cancel it, or let it finish.")


def _drop_rows(uow: UnitOfWork, chosen: Sequence[ModelVersion]) -> set[str]:
    """Delete versions with all rows that refer to them; return the keys of their weights that other versions use."""
    ids = [version.id for version in chosen]
    uow.model_versions.delete(ids)
    for version_id in ids:
        for name in (report_name(version_id), fit_name(version_id), measure_name(version_id)):
            uow.key_values.delete(name)
    uow.drift.delete_of(ids)
    uow.comparisons.delete_of(ids)
    uow.promotions.delete_of(ids)
    uow.trainings.delete([version.training_id for version in chosen if version.training_id])
    return uow.model_versions.known_weights([version.weights for version in chosen if version.weights])


def _drop_blobs(container: Container, chosen: Sequence[ModelVersion], used: set[str]) -> None:
    for version in chosen:
        blobs = {version.weights, version.example.blob if version.example else "", *uploads(version)}
        blobs |= {conversion_key(version.id), failure_key(version.id)}
        folders = (converted_folder(version.id), bank_key(version.id))
        for blob in blobs.union(*map(container.storage.list, folders)) - used - {""}:
            container.storage.delete(blob)
        if version.training_id:
            drop_plots(container, version.training_id)


def fetch(container: Container, version: ModelVersion) -> ModelVersion:
    """Have a worker get and check the weights of a version that is ABSENT; return the version in its new state.

    A refused version of the catalogue is checked again, since it cannot be removed and added again.
    """
    with container.database.write() as uow:
        current = uow.model_versions.find(version.id) or version
        is_refused_listed = current.state is ModelState.REFUSED and current.tenant == ALL_TENANTS
        if current.state is not ModelState.ABSENT and not is_refused_listed:
            return current  # it is being checked, or ready
        current = replace(current, state=ModelState.CHECKING, attempts=0, reason="a worker is getting its weights")
        uow.model_versions.save(current)
    container.queue.notifications.send_task("check", version.id)
    return current


@dataclass(frozen=True)
class Listing:
    """The listing holds versions of models, the tenant's default and its aliases, read together."""

    versions: list[ModelVersion]
    """Sorted by model, oldest first."""
    default: str
    """The name of the tenant's default model."""
    aliases: list[ModelAlias]
    """All aliases of the tenant, by name."""


def list_models(container: Container, tenant: str, name: str = "") -> Listing:
    """Return the versions of every model that the tenant may use, or of the model of that name."""
    with container.database.read() as uow:
        versions = uow.model_versions.named(tenant, name) if name else uow.model_versions.visible(tenant)
        default = default_models.resolve(container, uow, tenant).name
        return Listing(versions, default, uow.model_aliases.all(tenant))


def list_versions(container: Container, tenant: str, name: str) -> list[ModelVersion]:
    """Return the versions of a model, oldest first; empty if there is no such model."""
    with container.database.read() as uow:
        return uow.model_versions.named(tenant, name)


def get_with_training(
    container: Container, tenant: str, name: str, version: str
) -> tuple[ModelVersion, Training | None]:
    """Return (a version, the training that made it with its evidence, or None), read together; raises NotFound."""
    with container.database.read() as uow:
        chosen = pick(uow.model_versions.named(tenant, name), name, version)
        return chosen, uow.trainings.find(tenant, chosen.training_id) if chosen.training_id else None


def list_aliases(container: Container, tenant: str) -> list[ModelAlias]:
    """Return the tenant's aliases, by name."""
    with container.database.read() as uow:
        return uow.model_aliases.all(tenant)


def find_alias(container: Container, tenant: str, alias: str) -> ModelAlias | None:
    """Return the alias; None if there is no such alias."""
    with container.database.read() as uow:
        return uow.model_aliases.find(tenant, alias)
