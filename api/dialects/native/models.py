"""`/v1/models` and `/v1/aliases`: what there is, bring weights, fetch published ones, remove, and give other names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue

from api import reading
from api.context import caller, scope, tools
from api.dialects.native import asking, training_views, views
from api.reading import Fields
from shared import errors, loading, models
from shared.models import State, Version

bp = Blueprint("native-models", __name__)


@bp.get("/v1/models")
def listing() -> ResponseReturnValue:
    """Every model the caller may use, its own and the catalogue's."""
    with tools().records.read() as r:
        versions, default = r.versions.visible(caller().tenant), r.facts.get("default_model")
        known = r.aliases.all(caller().tenant)
    default = tools().settings.default_model or default
    return jsonify(models=views.models(versions, default, known, summaries(versions)))


@bp.get("/v1/models/<name>")
def show(name: str) -> ResponseReturnValue:
    """One model with its versions."""
    with tools().records.read() as r:
        versions, default = r.versions.named(caller().tenant, name), r.facts.get("default_model")
        known = r.aliases.all(caller().tenant)
    models.pick(versions, name)
    default = tools().settings.default_model or default
    return jsonify(views.model(versions, default, known, summaries(versions)))


@bp.get("/v1/models/<name>/versions")
def versions(name: str) -> ResponseReturnValue:
    """The versions of one model, oldest first, with what is most worth knowing of their evidence."""
    with tools().records.read() as r:
        found = r.versions.named(caller().tenant, name)
    models.pick(found, name)
    known = summaries(found)
    return jsonify(versions=[views.version(version, known) for version in found])


@bp.get("/v1/models/<name>/versions/<version>")
def show_version(name: str, version: str) -> ResponseReturnValue:
    """One version, with its labels in the order of the logits, and with its evidence if it was trained here."""
    with tools().records.read() as r:
        found = models.pick(r.versions.named(caller().tenant, name), name, version)
        training = r.trainings.get(caller().tenant, found.training_id) if found.training_id else None
    links: dict[str, Any] = {"self": f"/v1/models/{found.name}/versions/{found.version}"}
    if training is not None:
        links |= {"training": f"/v1/trainings/{training.id}", "plots": training_views.plots(training)}
    more = {"label_names": list(found.labels), "evidence": training.evidence if training else None, "links": links}
    return jsonify(views.version(found, summaries([found])) | more)


@bp.post("/v1/models")
@scope("models")
def add() -> ResponseReturnValue:
    """Register a version, from an uploaded weights file or from the published weights of an architecture.

    201 once a worker has reproduced its example; 202 when that takes longer than the request may wait; a refusal
    says why, and leaves nothing behind.
    """
    fields = Fields(request.form, request.args) if reading.is_multipart(request) else asking.json_fields()
    source = _keep_weights()
    try:
        added = models.add(
            tools(),
            caller().tenant,
            fields.text("name"),
            architecture=fields.text("architecture"),
            version=fields.text("version"),
            source=source,
            labels=_labels(fields),
        )
    except BaseException:
        if source != models.PRETRAINED:
            tools().storage.delete(source)
        raise
    seconds = 2.0 if added.source == models.PRETRAINED else tools().settings.max_wait
    version = models.wait(tools(), added, seconds)
    if version.state is State.ABSENT:
        models.forget(tools(), [version])
        raise errors.Conflict(f"Model {version.name!r} cannot be added: {version.reason}")
    response = jsonify(views.version(version, {}))
    response.headers["Location"] = f"/v1/models/{version.name}/versions/{version.version}"
    return response, 201 if version.state is State.READY else 202


@bp.delete("/v1/models/<name>")
@scope("models")
def remove(name: str) -> ResponseReturnValue:
    """Remove a model with all its versions; 204."""
    models.remove(tools(), caller().tenant, name)
    return "", 204


@bp.delete("/v1/models/<name>/versions/<version>")
@scope("models")
def remove_version(name: str, version: str) -> ResponseReturnValue:
    """Remove one version; 204."""
    models.remove(tools(), caller().tenant, name, version)
    return "", 204


@bp.get("/v1/aliases")
def aliases() -> ResponseReturnValue:
    """The caller's aliases, by name."""
    with tools().records.read() as r:
        return jsonify(aliases=[views.alias(known) for known in r.aliases.all(caller().tenant)])


@bp.put("/v1/aliases/<path:alias>")
@scope("models")
def set_alias(alias: str) -> ResponseReturnValue:
    """Let the alias stand for a model; 201, or 200 when it has stood for one before."""
    model = asking.json_fields().text("model")
    if not model:
        raise errors.BadOption("model must name the model that the alias is to stand for")
    with tools().records.read() as r:
        before = r.aliases.get(caller().tenant, alias)
    made = models.alias(tools(), caller().tenant, alias, model)
    return jsonify(views.alias(made)), 200 if before else 201


@bp.delete("/v1/aliases/<path:alias>")
@scope("models")
def remove_alias(alias: str) -> ResponseReturnValue:
    """The alias stands for nothing any more; 204."""
    models.unalias(tools(), caller().tenant, alias)
    return "", 204


def summaries(versions: Sequence[Version]) -> dict[str, dict[str, Any]]:
    """Training id -> `accuracy` and `method` of the versions that were trained here."""
    trained = [version.training_id for version in versions if version.training_id]
    if not trained:
        return {}
    with tools().records.read() as r:
        return r.trainings.summaries(trained)


def _keep_weights() -> str:
    """The key of the uploaded weights, stored as they came for a worker to look at; PRETRAINED when there are none."""
    part = request.files.get("weights")
    if part is None:
        return models.PRETRAINED
    try:
        return loading.keep_upload(tools(), part.stream)
    except errors.NoInput:
        raise errors.BadWeights("The weights file is empty.") from None


def _labels(fields: Fields) -> Sequence[str]:
    """One label per line, as a text or a file part; `imagenet`, or nothing, is the names of the published weights."""
    part = request.files.get("labels")
    try:
        text = part.stream.read(4 * 1024 * 1024).decode("utf-8-sig") if part else fields.text("labels")
    except UnicodeDecodeError:
        raise errors.BadOption("the labels must be a text file in UTF-8, one label per line") from None
    lines = [line.strip() for line in text.splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    return () if lines in ([], ["imagenet"]) else lines
