"""Use-cases of the default model: which one answers a tenant's requests that name none, and choosing another one."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from shared import errors
from shared.container import Container, UnitOfWork
from shared.domain.keys import DEFAULT_TENANT
from shared.domain.models import STANDARD, ModelVersion

SERVICE_DEFAULT = "default_model"
"""The stored value that names the default of all tenants; with a colon and the tenant, the tenant's own choice."""


class Origin(StrEnum):
    """Who has chosen a default model."""

    TENANT = "tenant"
    SETTING = "setting"
    SERVICE = "service"
    """It is the one that comes with inferq."""


@dataclass(frozen=True)
class DefaultModel:
    """The model that answers a tenant's requests that name none."""

    name: str
    origin: Origin


def get(container: Container, tenant: str) -> DefaultModel:
    """The tenant's default model."""
    with container.database.read() as uow:
        return resolve(container, uow, tenant)


def resolve(container: Container, uow: UnitOfWork, tenant: str) -> DefaultModel:
    """The tenant's own choice; else the model of the setting, if the tenant may use it; else the service's.

    A choice or a setting without a model behind it is passed over: requests must not fail for it.
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
    """Let a model answer the tenant's requests that name none; raises NotFound."""
    with container.database.write() as uow:
        versions = versions_behind(uow, tenant, name)
        if not versions:
            raise errors.NotFound(f"There is no model {name!r}.")
        uow.key_values.set(_key(tenant), versions[0].name)
        return resolve(container, uow, tenant)


def reset(container: Container, tenant: str) -> DefaultModel:
    """Take the tenant's choice back, if there is one; the default that answers then."""
    with container.database.write() as uow:
        uow.key_values.delete(_key(tenant))
        return resolve(container, uow, tenant)


def is_chosen(uow: UnitOfWork, tenant: str, name: str) -> bool:
    """True if the tenant has chosen the model as its default."""
    return uow.key_values.get(_key(tenant)) == name


def versions_behind(uow: UnitOfWork, tenant: str, name: str) -> list[ModelVersion]:
    """The versions behind a name or alias, oldest first; none where there is no such model."""
    versions = uow.model_versions.named(tenant, name)
    if not versions and (alias := uow.model_aliases.get(tenant, name)):
        versions = uow.model_versions.named(tenant, alias.name)
    return versions


def _key(tenant: str) -> str:
    return f"{SERVICE_DEFAULT}:{tenant}"
