"""`/v1/trainings`: train a version of a model on a dataset, follow it, read its evidence, cancel it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import fields as fields_of
from typing import Any

from flask import Blueprint, Response, jsonify, request
from flask.typing import ResponseReturnValue

from api import server_sent_events
from api.context import caller, container, scope, waited
from api.dialects.native.requests import common, jobs
from api.dialects.native.serializers import datasets_and_trainings
from api.reading import Fields
from api.server_sent_events import Snapshot
from shared import errors
from shared.container import Container
from shared.domain.jobs import Status
from shared.domain.trainings import SCRATCH, Training, TrainingParameters, TrainingRequest, plot_key
from shared.services import trainings

bp = Blueprint("native-trainings", __name__)

AGAIN = "2"
"""Seconds until a client should poll a training again."""
KINDS = {"svg": "image/svg+xml", "png": "image/png"}
_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
_PARAMETERS = {parameter.name: type(parameter.default) for parameter in fields_of(TrainingParameters)}


@bp.post("/v1/trainings")
@scope("models")
def submit() -> ResponseReturnValue:
    """Store the training; 202, or 200 when it has ended within the wait."""
    common.refuse_idempotency_key()
    seconds, fields = common.preferred_wait(), common.json_fields()
    name = common.needed(fields, "name", "the name of the model to be trained")
    dataset = common.dataset(fields)
    if dataset is None:
        raise errors.BadOption("dataset must be the id or the name of the dataset to learn from")
    if fields.has("base_version") and fields.text("base") in ("", SCRATCH):
        raise errors.BadOption("base_version is the version of a model; name that model as base")
    hook, secret = _webhook(fields)
    asked = TrainingRequest(
        dataset_id=dataset.id,
        name=name,
        base=fields.text("base"),
        base_version=fields.text("base_version"),
        parameters=_parameters(fields.mapping("parameters")),
        webhook=hook,
        webhook_secret=secret,
        metadata=fields.mapping("metadata"),
    )
    training = _ended(trainings.submit(container(), caller().tenant, asked), seconds)
    response = _answer(training)
    response.status_code = 200 if training.status.terminal else 202
    response.headers["Location"] = f"/v1/trainings/{training.id}"
    return response


@bp.get("/v1/trainings")
def listing() -> ResponseReturnValue:
    """List the trainings, newest first and without evidence, in pages; `cursor` is the `next` of the page before."""
    fields = Fields(request.args)
    limit, dataset = common.limit(fields), common.dataset(fields)
    listing = trainings.list_with_places(
        container(),
        caller().tenant,
        status=common.status(fields),
        name=fields.text("name"),
        dataset_id=dataset.id if dataset else None,
        before=fields.text("cursor"),
        limit=limit + 1,
    )

    def write(training: Training) -> dict[str, Any]:
        place, summary = listing.places.get(training.id, 0), listing.summaries.get(training.id, {})
        return datasets_and_trainings.training(training, place) | summary

    return jsonify(common.page("trainings", listing.page, limit, write))


@bp.get("/v1/trainings/<training_id>")
def show(training_id: str) -> ResponseReturnValue:
    """Return a training, with evidence when DONE. `Prefer: wait=N` waits for the end; `If-None-Match` may give 304."""
    found = trainings.get(container(), caller().tenant, training_id)
    return _answer(_ended(found, common.preferred_wait())).make_conditional(request)


@bp.delete("/v1/trainings/<training_id>")
@scope("models")
def cancel(training_id: str) -> ResponseReturnValue:
    """Cancel a training and discard its result; the dataset and the other versions of the model are unchanged."""
    return _answer(trainings.cancel(container(), caller().tenant, training_id))


@bp.get("/v1/trainings/<training_id>/events")
def events(training_id: str) -> ResponseReturnValue:
    """Stream server-sent events: `status` and `progress` on changes, and at the end `done` with the training."""
    made, tenant = container(), caller().tenant
    trainings.get(made, tenant, training_id)

    def look() -> Snapshot:
        found = trainings.get(made, tenant, training_id)
        place = _place(made, found)
        return Snapshot(found.status, _mark(found, place), datasets_and_trainings.training(found, place))

    return server_sent_events.stream(training_id, look)


@bp.get("/v1/trainings/<training_id>/plots/<name>.<kind>")
def plot(training_id: str, name: str, kind: str) -> ResponseReturnValue:
    """Return a plot of the evidence: `confusion`, `curve` or `reliability`, as SVG or PNG."""
    found = trainings.get(container(), caller().tenant, training_id)
    if name not in datasets_and_trainings.PLOTS or kind not in KINDS:
        there = ", ".join(datasets_and_trainings.PLOTS)
        raise errors.NotFound(f"There is no plot {name}.{kind}; there are: {there}, as {' or '.join(KINDS)}.")
    try:
        data = container().storage.read(plot_key(found.id, f"{name}.{kind}"))
    except FileNotFoundError:
        raise errors.NotFound(f"The training {found.id} is {found.status} and has no plots.") from None
    response = Response(data, mimetype=KINDS[kind])
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'"
    response.headers["Cache-Control"] = "private, max-age=3600"
    response.set_etag(hashlib.sha256(data).hexdigest()[:16])
    return response.make_conditional(request)


def _ended(training: Training, seconds: float) -> Training:
    if training.status.terminal:
        return training
    return waited(training, seconds, lambda most: trainings.wait(container(), training.tenant, training.id, most))


def _answer(training: Training) -> Response:
    place = _place(container(), training)
    response = jsonify(datasets_and_trainings.training(training, place) | {"evidence": training.evidence})
    mark = f"{training.id}{training.status}{_mark(training, place)}"
    response.set_etag(hashlib.sha256(mark.encode()).hexdigest()[:16])
    if not training.status.terminal:
        response.headers["Retry-After"] = AGAIN
    return response


def _place(container: Container, training: Training) -> int:
    """Return the place in the queue; 0 if the training is not QUEUED."""
    return trainings.position(container, training) if training.status is Status.QUEUED else 0


def _mark(training: Training, place: int) -> tuple[float, str, int, int]:
    """Return a value that changes with every progress within the same status."""
    return training.progress, training.message, len(training.curve), place


def _webhook(fields: Fields) -> tuple[str, str]:
    """Return (URL, secret), as jobs accept it, or with `webhook_secret` beside the URL; raises BadOption."""
    if not fields.has("webhook_secret"):
        return jobs.webhook(fields)
    given = {"url": fields.raw("webhook"), "secret": fields.raw("webhook_secret")}
    return jobs.webhook(Fields({"webhook": given}))


def _parameters(given: Mapping[str, Any]) -> TrainingParameters:
    """Return the typed and checked parameters; raises BadOption naming the wrong parameter, or all known parameters."""
    unknown = [name for name in given if name not in _PARAMETERS]
    if unknown:
        raise errors.BadOption(f"there is no parameter {unknown[0]!r}; there are: {', '.join(_PARAMETERS)}")
    return TrainingParameters(**{name: _typed(name, value) for name, value in given.items() if value is not None})


def _typed(name: str, value: Any) -> Any:
    """Return the value in the type of its parameter: an int may be given as 1.0, a float as 1, neither as a text."""
    kind = _PARAMETERS[name]
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if kind is float and type(value) is int:
        return value if abs(value) > common.LARGEST_ID else float(value)  # so large a number is outside every range
    if type(value) is not kind:
        raise errors.BadOption(f"the parameter {name} must be {_WORDS[kind]}, not {value!r}")
    return value
