"""`/v1/models`, `/v1/aliases`, `/v1/default-model`: list, import, fetch, remove and rename models, choose a default."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue

from api import reading
from api.context import caller, container, scope
from api.dialects.native.requests import common
from api.dialects.native.serializers import datasets_and_trainings, jobs_and_models
from api.reading import Fields
from shared import errors
from shared.domain.models import PRETRAINED, ModelState, ModelVersion, pick
from shared.domain.preprocessing import PreprocessingRequest, parse_request
from shared.services import dataset_import, default_models, models, trainings
from shared.services.default_models import DefaultModel

bp = Blueprint("native-models", __name__)
_SINGLE_VALUES = ("resize", "crop", "mean", "std", "interpolation")
"""Preprocessing values that an import may set as single fields."""
_LARGEST_JSON = 64 * 1024
"""Most bytes of a JSON file of preprocessing."""


@bp.get("/v1/models")
def listing() -> ResponseReturnValue:
    """List every model that the caller may use: its own and the catalogue's."""
    found = models.list_models(container(), caller().tenant)
    known = summaries(found.versions)
    return jsonify(models=jobs_and_models.models(found.versions, found.default, found.aliases, known))


@bp.get("/v1/models/<name>")
def show(name: str) -> ResponseReturnValue:
    """Return one model with its versions, the labels of its default version, and the engine that runs it."""
    found = models.list_models(container(), caller().tenant, name)
    answering = pick(found.versions, name)
    body = jobs_and_models.model(found.versions, found.default, found.aliases, summaries(found.versions))
    return jsonify(body | {"label_names": list(answering.labels), "engine": _engine()})


@bp.get("/v1/models/<name>/versions")
def versions(name: str) -> ResponseReturnValue:
    """List the versions of one model, oldest first, with a summary of their evidence."""
    found = models.list_versions(container(), caller().tenant, name)
    pick(found, name)
    known = summaries(found)
    return jsonify(versions=[jobs_and_models.version(version, known) for version in found])


@bp.get("/v1/models/<name>/versions/<version>")
def show_version(name: str, version: str) -> ResponseReturnValue:
    """Return a version with its labels in the order of the logits, and with its evidence if it was trained here."""
    found, training = models.get_with_training(container(), caller().tenant, name, version)
    links: dict[str, Any] = {"self": f"/v1/models/{found.name}/versions/{found.version}"}
    if training is not None:
        links |= {"training": f"/v1/trainings/{training.id}", "plots": datasets_and_trainings.plots(training)}
    evidence = training.evidence if training else None
    more = {"label_names": list(found.labels), "engine": _engine(), "evidence": evidence, "links": links}
    return jsonify(jobs_and_models.version(found, summaries([found])) | more)


@bp.post("/v1/models")
@scope("models")
def add() -> ResponseReturnValue:
    """Register a version, from an uploaded weights file or from the published weights of an architecture.

    201 once a worker has reproduced its example; 202 when that takes longer than the request may wait; 409 with the
    reason for a version that is refused, which leaves nothing behind.
    """
    fields = Fields(request.form, request.args) if reading.is_multipart(request) else common.json_fields()
    wanted = _preprocessing(fields)
    source = _keep_weights()
    try:
        added = models.add(
            container(),
            caller().tenant,
            fields.text("name"),
            architecture=fields.text("architecture"),
            version=fields.text("version"),
            source=source,
            labels=_labels(fields),
            preprocessing=wanted,
        )
    except BaseException:
        if source != PRETRAINED:
            container().storage.delete(source)
        raise
    seconds = 2.0 if added.source == PRETRAINED else container().settings.max_wait
    version = models.wait(container(), added, seconds)
    if version.state is ModelState.ABSENT:
        if version.tenant == caller().tenant:  # a version of the catalogue stays, for the next try
            models.forget(container(), [version])
        raise errors.Conflict(f"Model {version.name!r} cannot be added: {version.reason}")
    response = jsonify(jobs_and_models.version(version, {}))
    response.headers["Location"] = f"/v1/models/{version.name}/versions/{version.version}"
    if version.state is not ModelState.READY:
        return response, 202
    return response, 200 if added.state is ModelState.READY else 201  # 200: the catalogue had it ready already


@bp.get("/v1/default-model")
def default_model() -> ResponseReturnValue:
    """Return the model that answers the caller's requests that name no model."""
    return _write_default(default_models.get(container(), caller().tenant))


@bp.put("/v1/default-model")
@scope("models")
def choose_default_model() -> ResponseReturnValue:
    """Let a model answer all requests of the caller's tenant that name no model; 200."""
    name = common.needed(common.json_fields(), "model", "the model that is to answer requests that name none")
    return _write_default(default_models.choose(container(), caller().tenant, name))


@bp.delete("/v1/default-model")
@scope("models")
def reset_default_model() -> ResponseReturnValue:
    """Remove the tenant's choice, so that the default of the service answers again; 200."""
    return _write_default(default_models.reset(container(), caller().tenant))


@bp.delete("/v1/models/<name>")
@scope("models")
def remove(name: str) -> ResponseReturnValue:
    """Remove a model with all its versions; 204."""
    models.remove(container(), caller().tenant, name)
    return "", 204


@bp.delete("/v1/models/<name>/versions/<version>")
@scope("models")
def remove_version(name: str, version: str) -> ResponseReturnValue:
    """Remove one version; 204."""
    models.remove(container(), caller().tenant, name, version)
    return "", 204


@bp.get("/v1/aliases")
def aliases() -> ResponseReturnValue:
    """List the caller's aliases, by name."""
    known = models.list_aliases(container(), caller().tenant)
    return jsonify(aliases=[jobs_and_models.alias(alias) for alias in known])


@bp.put("/v1/aliases/<path:alias>")
@scope("models")
def set_alias(alias: str) -> ResponseReturnValue:
    """Let the alias stand for a model; 201, or 200 when the alias existed before."""
    model = common.json_fields().text("model")
    if not model:
        raise errors.BadOption("model must name the model that the alias is to stand for")
    before = models.find_alias(container(), caller().tenant, alias)
    made = models.alias(container(), caller().tenant, alias, model)
    return jsonify(jobs_and_models.alias(made)), 200 if before else 201


@bp.delete("/v1/aliases/<path:alias>")
@scope("models")
def remove_alias(alias: str) -> ResponseReturnValue:
    """Remove an alias; 204."""
    models.unalias(container(), caller().tenant, alias)
    return "", 204


def summaries(versions: Sequence[ModelVersion]) -> dict[str, dict[str, Any]]:
    """Return training id -> `accuracy` and `method`, of the versions that were trained here."""
    trained = [version.training_id for version in versions if version.training_id]
    return trainings.get_summaries(container(), trained) if trained else {}


def _write_default(found: DefaultModel) -> ResponseReturnValue:
    return jsonify(model=found.name, origin=found.origin)


def _engine() -> str | None:
    """Return the engines of the active workers; None if no worker is active or Redis is unavailable."""
    with suppress(errors.Unavailable):
        engines = {worker["engine"] for worker in container().queue.workers.list() if worker.get("engine")}
        return ", ".join(sorted(engines)) or None
    return None


def _preprocessing(fields: Fields) -> PreprocessingRequest | None:
    """Return the requested preprocessing: a preset's name or JSON, as a field or a file, and single values."""
    part = request.files.get("preprocessing")
    try:
        whole = _small_text(part.stream.read(_LARGEST_JSON + 1)) if part else fields.raw("preprocessing")
    except UnicodeDecodeError:
        raise errors.BadOption("preprocessing must be a JSON file in UTF-8") from None
    return parse_request(whole, {name: fields.raw(name) for name in _SINGLE_VALUES})


def _small_text(data: bytes) -> str:
    if not data.strip() or len(data) > _LARGEST_JSON:
        raise errors.BadOption(f"the preprocessing file must hold a JSON object of at most {_LARGEST_JSON} bytes")
    return data.decode("utf-8-sig")


def _keep_weights() -> str:
    """Store the uploaded weights unchecked, for a worker to check, and return their key; PRETRAINED without a file."""
    part = request.files.get("weights")
    if part is None:
        return PRETRAINED
    try:
        return dataset_import.keep_upload(container(), part.stream)
    except errors.NoInput:
        raise errors.BadWeights("The weights file is empty.") from None


def _labels(fields: Fields) -> Sequence[str]:
    """Return the labels, one per line of a text or file; empty for `imagenet` or none: the published weights' names."""
    part = request.files.get("labels")
    try:
        text = part.stream.read(4 * 1024 * 1024).decode("utf-8-sig") if part else fields.text("labels")
    except UnicodeDecodeError:
        raise errors.BadOption("the labels must be a text file in UTF-8, one label per line") from None
    lines = [line.strip() for line in text.splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    return () if lines in ([], ["imagenet"]) else lines
