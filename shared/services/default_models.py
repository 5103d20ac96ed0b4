"""The default model answers a tenant's requests that name no model; these use-cases resolve, choose and reset it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from shared import errors
from shared.container import Container, UnitOfWork
from shared.domain.keys import DEFAULT_TENANT
from shared.domain.models import STANDARD, ModelVersion

SERVICE_DEFAULT = "default_model"
"""The key of the stored value that names the default of all tenants; `default_model:TENANT` is a tenant's choice."""


class Origin(StrEnum):
    """The origin states whether a tenant, a setting or the service itself has chosen a default model."""

    TENANT = "tenant"
    SETTING = "setting"
    SERVICE = "service"
    """The model is the default that comes with inferq."""


@dataclass(frozen=True)
class DefaultModel:
    """The default model answers a tenant's requests that name no model."""

    name: str
    origin: Origin


def get(container: Container, tenant: str) -> DefaultModel:
    """Return the tenant's default model."""
    with container.database.read() as uow:
        return resolve(container, uow, tenant)


def resolve(container: Container, uow: UnitOfWork, tenant: str) -> DefaultModel:
    """Return the tenant's own choice; else the setting's model, if the tenant may use it; else the service's default.

    A choice or a setting that names no existing model is skipped, because requests must not fail for it.
    """
    stored = uow.key_values.get_all([_key(tenant), SERVICE_DEFAULT])
    if (own := stored.get(_key(tenant))) and (versions := versions_behind(uow, tenant, own)):
        return DefaultModel(versions[0].name, Origin.TENANT)
    setting, service = container.settings.default_model, stored.get(SERVICE_DEFAULT, STANDARD)
    # The setting may name a model of the tenant `default`, which is that tenant's default only.
    if setting and tenant == DEFAULT_TENANT and (versions := versions_behind(uow, tenant, setting)):
        return DefaultModel(versions[0].name, Origin.SETTING)
    chosen = service in (setting, *([] if service == STANDARD else [service]))
    return DefaultModel(service, Origin.SETTING if setting and chosen else Origin.SERVICE)


def choose(container: Container, tenant: str, name: str) -> DefaultModel:
    """Make a model the default for the tenant's requests that name no model; raises NotFound."""
    with container.database.write() as uow:
        versions = versions_behind(uow, tenant, name)
        if not versions:
            raise errors.NotFound(f"There is no model {name!r}.")
        uow.key_values.set(_key(tenant), versions[0].name)
        return resolve(container, uow, tenant)


def reset(container: Container, tenant: str) -> DefaultModel:
    """Delete the tenant's choice, if there is a choice; return the default that answers from then on."""
    with container.database.write() as uow:
        uow.key_values.delete(_key(tenant))
        return resolve(container, uow, tenant)


def is_chosen(uow: UnitOfWork, tenant: str, name: str) -> bool:
    """Return True if the tenant has chosen the model as its default."""
    return uow.key_values.get(_key(tenant)) == name


def versions_behind(uow: UnitOfWork, tenant: str, name: str) -> list[ModelVersion]:
    """Return the versions behind a name or alias, oldest first; empty if there is no such model."""
    versions = uow.model_versions.named(tenant, name)
    if not versions and (alias := uow.model_aliases.find(tenant, name)):
        versions = uow.model_versions.named(tenant, alias.name)
    return versions


def _key(tenant: str) -> str:
    return f"{SERVICE_DEFAULT}:{tenant}"
