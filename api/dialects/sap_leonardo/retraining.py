"""`/api/v2/image/retraining`: a dataset becomes a job, the job a version of a model, and the version is deployed.

    dataset of the native API, or folder in the store ──> job ──> version, not deployed ──> deployment: it answers here

A job is a training of this wire; its id, `mugs-2020-01-31t0915z004211`, is the training's title. A version that was
trained on another wire, or imported, is deployed from the start.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue

from api import reading
from api.context import caller, container, link, scope
from api.dialects.sap_leonardo.services import RETRAINING, WIRE
from api.reading import Fields
from shared import errors
from shared.domain.datasets import LONGEST_NAME, Dataset
from shared.domain.jobs import Status
from shared.domain.keys import DEFAULT_TENANT
from shared.domain.models import NAME_PATTERN, ModelState, ModelVersion
from shared.domain.trainings import Training, TrainingParameters, TrainingRequest
from shared.services import bucket_import, datasets, promotions, trainings
from shared.services import models as model_services

bp = Blueprint("sap-retraining", __name__, url_prefix=RETRAINING)

LISTED = 500
"""Most jobs in the list, the newest; older jobs are still found by their id."""
UNSET = "0001-01-01T00:00:00.000Z"
STATES = {Status.QUEUED: "PENDING", Status.RUNNING: "RUNNING", Status.DONE: "SUCCEEDED"}
"""Status -> status of a job on this wire; every status that is missing here is FAILED."""
DEPLOYMENTS = {ModelState.READY: ("SUCCEEDED", "ready"), ModelState.CHECKING: ("PENDING", "being loaded and checked")}
"""State of a version -> (state, description) of its deployment; versions in other states are not deployments."""
NATIVE_HINT = "Make the dataset by the native API instead: POST /v1/datasets with its name and an archive."


# the store


@bp.route("/storage", methods=["GET", "POST"])
@scope("models")
def storage() -> ResponseReturnValue:
    """Return the address and key of the dataset store; it is one store with one key, so for one tenant only."""
    settings = container().settings
    access = {
        "endpoint": settings.sap_store_endpoint,
        "accessKey": settings.sap_store_access_key,
        "secretKey": settings.sap_store_secret_key,
    }
    if not settings.sap_store or not all(access.values()):
        raise errors.NotFound(f"This installation has no store for datasets. {NATIVE_HINT}")
    if caller().tenant != DEFAULT_TENANT:
        raise errors.Forbidden(f"The store has one key, which would open the datasets of all tenants. {NATIVE_HINT}")
    response = jsonify(access)
    response.headers["Cache-Control"] = "no-store"
    return response


# jobs


@bp.post("/jobs")
@scope("models")
def submit() -> ResponseReturnValue:
    """Begin a training: 202 with the job, which is PENDING until its dataset is loaded and a trainer is free."""
    parsed = read(reading.json_object(request, reading.SMALL))
    try:
        training = _submit_training(parsed)
    except errors.Conflict:
        _raise_if_in_training(parsed.model)
        raise
    response = jsonify(job(training))
    response.headers["Location"] = link(f"{RETRAINING}/jobs/{training.title}")
    return response, 202


def _submit_training(parsed: ParsedRequest) -> Training:
    # Checked first, so that no folder of the store is imported as a dataset in vain.
    trainings.check_free(container(), caller().tenant, parsed.model)
    dataset = _dataset(parsed.dataset)
    if dataset.is_multi_label:
        raise errors.BadDataset(
            f"The dataset {dataset.name!r} has any number of labels for each picture; a retraining job needs exactly "
            "one. Train it by the native API instead: POST /v1/trainings."
        )
    training_request = TrainingRequest(
        dataset.id,
        parsed.model,
        parameters=parsed.parameters,
        title=job_id(parsed.dataset, container().now()),
        requires_deployment=True,
        allow_unready_dataset=True,
        wire=WIRE,
    )
    return trainings.submit(container(), caller().tenant, training_request)


def _raise_if_in_training(model: str) -> None:
    """Raise Conflict for a model in training, naming the job if the training is of this wire, which has only jobs."""
    busy = trainings.find_live(container(), caller().tenant, model)
    if busy:
        detail = f", by job {busy.title}; cancel it, or let it finish" if busy.wire == WIRE else ""
        raise errors.Conflict(f"The model {model!r} is being trained already{detail}.") from None


@bp.get("/jobs")
def listing() -> ResponseReturnValue:
    """List the newest jobs."""
    newest = trainings.list_page(container(), caller().tenant, wire=WIRE, limit=LISTED)
    return jsonify(jobs=[job(training) for training in newest if _is_job(training)])


@bp.get("/jobs/<name>")
def show(name: str) -> ResponseReturnValue:
    """Return one job as it is."""
    return jsonify(job(_get_job(name)))


@bp.delete("/jobs/<name>")
@scope("models")
def remove(name: str) -> ResponseReturnValue:
    """Cancel an active job; remove an ended job from the list. 204.

    A training that made a version holds its evidence, so it is kept under the name of its model.
    """
    training = _get_job(name)
    if not training.status.terminal:
        trainings.cancel(container(), caller().tenant, training.id)
    elif training.version_id:
        trainings.retitle(container(), training.id, training.name)
    else:
        trainings.remove(container(), caller().tenant, training.id)
    return "", 204


@dataclass(frozen=True)
class ParsedRequest:
    """ParsedRequest holds the dataset, the model and the parameters of a new job."""

    dataset: str
    model: str
    parameters: TrainingParameters


def read(body: dict[str, Any]) -> ParsedRequest:
    """Parse the body, flat or with the values in `options`, as an older command line sends it; raises BadOption."""
    outer = Fields(body)
    if outer.text("mode", "image") != "image":
        raise errors.BadOption(f"mode must be image, not {outer.text('mode')!r}")
    fields = Fields(outer.mapping("options"), body)
    dataset, model = (_required(fields, name) for name in ("dataset", "modelName"))
    if not NAME_PATTERN.fullmatch(model):
        raise errors.BadOption("modelName is made of letters, digits, '.', '_' and '-', 100 at most")
    rate = fields.number("learningRate", 0.001)
    if not 0 < rate < 1:
        raise errors.BadOption(f"learningRate must be greater than 0 and less than 1, not {rate}")
    _whole(fields, "memory", 8192, 8192, 32768)  # checked, not used: a trainer has the memory of its machine
    fields.flag("generateTfSummaries", False)  # checked, not used: there is no TensorFlow here
    parameters = TrainingParameters(
        epochs=_whole(fields, "maxEpochs", 150, 1, 10_000),
        learning_rate=rate,
        batch_size=_whole(fields, "batchSize", 64, 1, 1024),
        max_unimproved_epochs=_whole(fields, "maxUnimprovedEpochs", 15, 1, 10_000),
        max_seconds=_whole(fields, "completionTime", 24, 1, 168) * 3600.0,
    )
    return ParsedRequest(dataset, model, parameters)


def job_id(dataset: str, now: float) -> str:
    """Return an id such as `mugs-2020-01-31t0915z004211`: dataset, UTC time, random digits; safe in a path."""
    name = re.sub(r"[^a-z0-9._-]+", "-", dataset.lower()).strip("-") or "dataset"
    ending = f"-{datetime.fromtimestamp(now, UTC):%Y-%m-%dt%H%Mz}{secrets.randbelow(10**6):06}"
    return name[: LONGEST_NAME - len(ending)] + ending


def job(training: Training) -> dict[str, Any]:
    """Return one training as a job of this wire, with the model's version once it exists."""
    message = training.error or ("it was cancelled" if training.status is Status.CANCELLED else training.message)
    body = {
        "id": training.title,
        "status": STATES.get(training.status, "FAILED"),
        "submissionTime": _time(training.created_at),
        "startTime": _time(training.started_at),
        "finishTime": _time(training.finished_at),
        "modelName": training.name,
        "message": message,
    }
    return body | ({"modelVersion": training.version} if training.version else {})


def _dataset(name: str) -> Dataset:
    """Return the newest dataset of that name, imported from the store if it is missing or unusable. Raises NotFound."""
    tenant = caller().tenant
    if container().settings.sap_store and tenant == DEFAULT_TENANT:
        return bucket_import.get_or_create(container(), tenant, name)
    try:
        return datasets.get_by_reference(container(), tenant, name)
    except errors.NotFound as error:
        raise errors.NotFound(f"{error.message} {NATIVE_HINT}") from None


def _get_job(name: str) -> Training:
    training = trainings.find_by_title(container(), caller().tenant, WIRE, name)
    if training is None or not _is_job(training):
        raise errors.NotFound(f"There is no job {name!r}. The models of removed jobs are below {RETRAINING}/models.")
    return training


def _is_job(training: Training) -> bool:
    """Return whether the training still has the title of a job; see `remove`."""
    return training.title != training.name


def _required(fields: Fields, name: str) -> str:
    if not fields.text(name):
        raise errors.BadOption(f"{name} is missing")
    return fields.text(name)


def _whole(fields: Fields, name: str, default: int, low: int, high: int) -> int:
    value = fields.whole(name, default)
    if not low <= value <= high:
        raise errors.BadOption(f"{name} must be from {low} to {high}, not {value}")
    return value


def _time(seconds: float | None) -> str:
    if seconds is None:
        return UNSET
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


# models


@bp.get("/models")
def models() -> ResponseReturnValue:
    """List the tenant's own models with their ready versions, deployed or not."""
    ready = _versions(_own_versions())
    return jsonify(
        models=[{"versions": list(group)} for _, group in groupby(ready, lambda version: version["modelName"])]
    )


@bp.get("/models/<name>/versions")
def versions(name: str) -> ResponseReturnValue:
    """List the ready versions of one model; raises NotFound."""
    owned = [version for version in _own_versions() if version.name == name]
    if not owned:
        raise errors.NotFound(f"You have no model {name!r}; {RETRAINING}/models lists yours.")
    return jsonify(versions=_versions(owned))


def _own_versions() -> list[ModelVersion]:
    """Return the tenant's own versions, by name, oldest first; without the catalogue."""
    visible = model_services.list_visible(container(), caller().tenant)
    return [version for version in visible if version.tenant == caller().tenant]


def _versions(owned: Sequence[ModelVersion]) -> list[dict[str, Any]]:
    """Return the ready versions, with their measured accuracy if they were trained here."""
    ready = [version for version in owned if version.state is ModelState.READY]
    trained = [version.training_id for version in ready if version.training_id]
    measured = trainings.get_summaries(container(), trained)
    return [_version(version, measured.get(version.training_id)) for version in ready]


def _version(version: ModelVersion, measured: Mapping[str, Any] | None) -> dict[str, Any]:
    created = _time(version.created_at)
    body = {
        "modelName": version.name,
        "version": version.version,
        "createdAt": created,
        "updatedAt": created,  # a version never changes
        "checksum": version.checksum,
        "labels": list(version.labels),
        "deployed": not version.requires_deployment,
    }
    return body | ({"accuracy": measured["accuracy"]} if measured else {})


# deployments


@bp.get("/deployments")
def deployments() -> ResponseReturnValue:
    """List the versions of the tenant's own models that answer on this wire, or will once they are checked."""
    deployed = [
        version for version in _own_versions() if version.state in DEPLOYMENTS and not version.requires_deployment
    ]
    return jsonify(deployments=[_deployment(version) for version in deployed])


@bp.post("/deployments")
@scope("models")
def deploy() -> ResponseReturnValue:
    """Let a version answer on this wire; a version that is deployed already is returned unchanged."""
    fields = Fields(reading.json_object(request, reading.SMALL))
    name, version = (_required(fields, field) for field in ("modelName", "modelVersion"))
    return jsonify(_deployment(promotions.deploy(container(), caller().tenant, name, version)))


@bp.delete("/deployments/<version_id>")
@scope("models")
def undeploy(version_id: str) -> ResponseReturnValue:
    """Stop a version from answering on this wire; 204. On the other wires nothing changes."""
    promotions.undeploy(container(), caller().tenant, version_id)
    return "", 204


def _deployment(version: ModelVersion) -> dict[str, Any]:
    state, description = DEPLOYMENTS[version.state]
    return {
        "id": version.id,
        "modelName": version.name,
        "modelVersion": version.version,
        "status": {"state": state, "description": description},
    }
