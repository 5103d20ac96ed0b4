"""The catalogue's use-cases register the models that every installation has and store the default of the service."""

from __future__ import annotations

import uuid6

from shared.container import Container
from shared.domain.keys import DEFAULT_TENANT
from shared.domain.models import ALL_TENANTS, CATALOGUE, STANDARD, ModelState, ModelVersion
from shared.services import models
from shared.services.default_models import SERVICE_DEFAULT


def fill(container: Container) -> None:
    """Register the catalogue's models that are missing, and have a worker check bundled weights that are not ready.

    A bundled model that was refused is checked again at each start: the package may have been reinstalled, or a
    worker of the previous version, which did not know the architecture, may have refused it during an upgrade.
    """
    with container.database.write() as uow:
        for listed in CATALOGUE:
            if not _registered(uow.model_versions.named(ALL_TENANTS, listed.name)):
                uow.model_versions.add(
                    ModelVersion(
                        id=str(uuid6.uuid7()),
                        tenant=ALL_TENANTS,
                        name=listed.name,
                        version="1",
                        family="",
                        architecture=listed.architecture,
                        state=ModelState.ABSENT,
                        created_at=container.now(),
                        is_default=True,
                    )
                )
        bundled = [uow.model_versions.named(ALL_TENANTS, listed.name)[0] for listed in CATALOGUE if listed.bundled]
    for version in bundled:
        models.fetch(container, version)


def decide_default(container: Container) -> tuple[str, str]:
    """Store the default model of the service; return the default of the tenant `default`, and why it was chosen.

    The default of the service is a model that all tenants may use: the setting's model if it is in the catalogue, else
    STANDARD. Raises NotFound when the setting names a model that does not exist.
    """
    setting = container.settings.default_model
    chosen = models.get_version(container, DEFAULT_TENANT, setting) if setting else None
    with container.database.write() as uow:
        shared = bool(chosen and _registered(uow.model_versions.named(ALL_TENANTS, chosen.name)))
        service = chosen.name if chosen and shared else STANDARD
        uow.key_values.set(SERVICE_DEFAULT, service)
    if chosen is None:
        return STANDARD, "its weights come with inferq"
    if not shared:
        return chosen.name, f"chosen by the setting for the tenant {DEFAULT_TENANT}; other tenants get {STANDARD}"
    if chosen.state is ModelState.ABSENT:
        return chosen.name, f"chosen by the setting; its weights are not here yet: inferq models add {chosen.name}"
    return chosen.name, "chosen by the setting"


def _registered(versions: list[ModelVersion]) -> bool:
    return any(version.tenant == ALL_TENANTS for version in versions)
