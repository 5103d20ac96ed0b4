"""`/v1/models`, `/v1/aliases`, `/v1/default-model`: list, import, fetch, remove and rename models, choose a default."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from flask import Response, request
from flask.typing import ResponseReturnValue

from api import reading
from api.context import caller, container, scope
from api.dialects.native.openapi.operations import Body, OperationsBlueprint, operation
from api.dialects.native.requests import models as requests
from api.dialects.native.requests.common import parse, parse_json, refuse_unknown
from api.dialects.native.serializers import models as serializers
from api.dialects.native.serializers.common import respond
from shared import errors
from shared.domain.models import PRETRAINED, ModelState, ModelVersion, pick
from shared.schemas import models as schemas
from shared.services import default_models, engines, models, promotions, trainings

bp = OperationsBlueprint("native-models", __name__)
_CHOICE = Body(json=schemas.ModelChoice, example={"model": "vit"})


@bp.get("/v1/models")
@operation("listModels", "Models", {200: ("The models.", schemas.ModelList)})
def listing() -> Response:
    """List models.

    Every model that the caller may use, its own and those of the catalogue, with their versions.
    """
    listing = models.list_models(container(), caller().tenant)
    measured = summaries(listing.versions)
    earlier = promotions.find_earlier(container(), caller().tenant)
    return respond(serializers.models(listing.versions, listing.default, listing.aliases, measured, earlier))


@bp.get("/v1/models/<name>")
@operation("getModel", "Models", {200: ("The model.", schemas.ModelDetails)})
def show(name: str) -> Response:
    """Look at a model.

    With its versions, the labels of its default version, and the engine that runs it.
    """
    listing = models.list_models(container(), caller().tenant, name)
    default = pick(listing.versions, name)
    return respond(
        serializers.details(
            listing.versions,
            listing.default,
            listing.aliases,
            summaries(listing.versions),
            promotions.find_earlier(container(), caller().tenant),
            label_names=default.labels,
            engine=_engine(default.id),
        )
    )


@bp.get("/v1/models/<name>/versions")
@operation("listVersions", "Models", {200: ("The versions.", schemas.VersionList)})
def versions(name: str) -> Response:
    """List the versions of a model.

    Oldest first, with a summary of their evidence.
    """
    versions = models.list_versions(container(), caller().tenant, name)
    pick(versions, name)
    measured = summaries(versions)
    return respond(schemas.VersionList(versions=[serializers.version(version, measured) for version in versions]))


@bp.get("/v1/models/<name>/versions/<version>")
@operation("getVersion", "Models", {200: ("The version.", schemas.VersionDetails)})
def show_version(name: str, version: str) -> Response:
    """Look at a version.

    With its labels in the order of the logits, and with its evidence if it was trained here.
    """
    stored, training = models.get_with_training(container(), caller().tenant, name, version)
    report = engines.find_report(container(), stored.id)
    details = serializers.version_details(
        stored, summaries([stored]), engine=_engine(stored.id), training=training, report=report
    )
    return respond(details)


@bp.post("/v1/models")
@scope("models")
@operation(
    "addModel",
    "Models",
    {
        200: ("The catalogue had it ready already.", schemas.Version),
        201: ("It is ready: a worker has loaded it and reproduced its example.", schemas.Version),
        202: ("It is still being fetched or checked; look again.", schemas.Version),
    },
    body=Body(form=schemas.ModelForm, json=schemas.ModelRequest, example={"name": "mobilenet_v2"}),
)
async def add() -> Response:
    """Add a model.

    From the weights of the caller, or from the published weights of an architecture. 409 with the reason for a version
    that is refused, which leaves nothing behind.
    """
    if reading.is_multipart(request):
        request.max_content_length = container().settings.max_weights
        wanted: schemas.ModelRequest = parse(schemas.ModelForm, request.form, request.args)
        refuse_unknown(requests.FILES, request.files)
    else:
        wanted = parse_json(schemas.ModelRequest)
    with requests.kept_files(wanted) as imported:
        added = models.add(
            container(),
            caller().tenant,
            wanted.name,
            architecture=wanted.architecture,
            version=wanted.version,
            imported=imported,
        )
    seconds = 2.0 if added.source == PRETRAINED else container().settings.max_wait
    version = await models.wait(container(), added, seconds)
    if version.state is ModelState.ABSENT:
        if version.tenant == caller().tenant:  # a version of the catalogue stays, for the next try
            models.forget(container(), [version])
        raise errors.Conflict(f"Model {version.name!r} cannot be added: {version.reason}")
    location = f"/v1/models/{version.name}/versions/{version.version}"
    if version.state is not ModelState.READY:
        status = 202
    else:
        status = 200 if added.state is ModelState.READY else 201
    return respond(serializers.version(version, {}), status, location=location)


@bp.get("/v1/default-model")
@operation("getDefaultModel", "Models", {200: ("The default model.", schemas.DefaultModel)})
def default_model() -> Response:
    """Look at the default model.

    It answers the caller's requests that name no model.
    """
    return respond(serializers.default_model(default_models.get(container(), caller().tenant)))


@bp.put("/v1/default-model")
@scope("models")
@operation("chooseDefaultModel", "Models", {200: ("The default model.", schemas.DefaultModel)}, body=_CHOICE)
def choose_default_model() -> Response:
    """Choose the default model.

    For all requests of the caller's tenant that name no model, on every wire.
    """
    wanted = parse_json(schemas.ModelChoice)
    return respond(serializers.default_model(default_models.choose(container(), caller().tenant, wanted.model)))


@bp.delete("/v1/default-model")
@scope("models")
@operation("resetDefaultModel", "Models", {200: ("The default model.", schemas.DefaultModel)})
def reset_default_model() -> Response:
    """Remove the tenant's choice of a default model.

    The default of the service answers again.
    """
    return respond(serializers.default_model(default_models.reset(container(), caller().tenant)))


@bp.delete("/v1/models/<name>")
@scope("models")
@operation("removeModel", "Models", {204: ("It is removed.", None)})
def remove(name: str) -> ResponseReturnValue:
    """Remove a model.

    With all its versions.
    """
    models.remove(container(), caller().tenant, name)
    return "", 204


@bp.delete("/v1/models/<name>/versions/<version>")
@scope("models")
@operation("removeVersion", "Models", {204: ("It is removed.", None)})
def remove_version(name: str, version: str) -> ResponseReturnValue:
    """Remove a version.

    409 for the default version while another one could answer in its place: promote that one first.
    """
    models.remove(container(), caller().tenant, name, version)
    return "", 204


@bp.get("/v1/aliases")
@operation("listAliases", "Models", {200: ("The aliases, by name.", schemas.AliasList)})
def aliases() -> Response:
    """List aliases.

    Other names for models, on every wire.
    """
    aliases = models.list_aliases(container(), caller().tenant)
    return respond(schemas.AliasList(aliases=[serializers.alias(alias) for alias in aliases]))


@bp.put("/v1/aliases/<path:alias>")
@scope("models")
@operation(
    "setAlias",
    "Models",
    {200: ("It stood for a model before.", schemas.Alias), 201: ("It is new.", schemas.Alias)},
    body=_CHOICE,
)
def set_alias(alias: str) -> Response:
    """Let an alias stand for a model.

    It replaces what the alias stood for before.
    """
    wanted = parse_json(schemas.ModelChoice)
    before = models.find_alias(container(), caller().tenant, alias)
    stored = models.alias(container(), caller().tenant, alias, wanted.model)
    return respond(serializers.alias(stored), 200 if before else 201)


@bp.delete("/v1/aliases/<path:alias>")
@scope("models")
@operation("removeAlias", "Models", {204: ("It is removed.", None)})
def remove_alias(alias: str) -> ResponseReturnValue:
    """Remove an alias.

    The model stays.
    """
    models.unalias(container(), caller().tenant, alias)
    return "", 204


def summaries(versions: Sequence[ModelVersion]) -> dict[str, dict[str, Any]]:
    """Return training id -> `accuracy`, `mean_average_precision` and `method`, of versions that were trained here."""
    trained = [version.training_id for version in versions if version.training_id]
    return trainings.get_summaries(container(), trained) if trained else {}


def _engine(version_id: str = "") -> str | None:
    """Return what the active workers run a version with, or any version that none has loaded; None without workers."""
    with suppress(errors.Unavailable):
        workers = container().queue.brief_workers.list()
        runtimes = {found for worker in workers if (found := worker.get("runtimes", {}).get(version_id))}
        found = runtimes or {worker["engine"] for worker in workers if worker.get("engine")}
        return ", ".join(sorted(found)) or None
    return None
