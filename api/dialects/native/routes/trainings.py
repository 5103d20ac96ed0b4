"""`/v1/trainings`: train a version of a model on a dataset, follow it, read its evidence, cancel it."""

from __future__ import annotations

import hashlib
from typing import Any

from flask import Response, request
from flask.typing import ResponseReturnValue
from msgspec import structs

from api import server_sent_events
from api.context import caller, container, scope, waited
from api.dialects.native.openapi.operations import (
    IF_NONE_MATCH,
    WAIT,
    Body,
    Media,
    OperationsBlueprint,
    operation,
)
from api.dialects.native.requests import jobs
from api.dialects.native.requests.common import (
    find_dataset,
    get_dataset,
    parse,
    parse_json,
    preferred_wait,
    refuse_idempotency_key,
)
from api.dialects.native.serializers import trainings as serializers
from api.dialects.native.serializers.common import cut, respond
from api.server_sent_events import Snapshot
from shared import errors
from shared.container import Container
from shared.domain.jobs import Status
from shared.domain.trainings import SCRATCH, Training, TrainingParameters, TrainingRequest, plot_key
from shared.schemas import trainings as schemas
from shared.services import absences, trainings

bp = OperationsBlueprint("native-trainings", __name__)

POLL_AGAIN = 2
"""Seconds until a client should poll a training again."""
KINDS = {"svg": "image/svg+xml", "png": "image/png"}


@bp.post("/v1/trainings")
@scope("models")
@operation(
    "submitTraining",
    "Trainings",
    {
        200: ("The training, ended within the wait.", schemas.Training),
        202: ("The training, not ended yet. `Location` is where to poll.", schemas.Training),
    },
    body=Body(json=schemas.TrainingRequest, example={"dataset": "ducks", "name": "ducks"}),
    headers=[WAIT],
)
async def submit() -> Response:
    """Train a model.

    The version of the dataset is sealed: what is added later belongs to the next version. The first version of a model
    is its default, later ones are promoted. An `Idempotency-Key` is refused: it is for jobs only.
    """
    refuse_idempotency_key()
    seconds, wanted = preferred_wait(), parse_json(schemas.TrainingRequest)
    dataset = get_dataset(wanted.dataset)
    if wanted.base_version and wanted.base in ("", SCRATCH):
        raise errors.BadOption("base_version is the version of a model; name that model as base")
    hook, secret = _webhook(wanted)
    training = trainings.submit(
        container(),
        caller().tenant,
        TrainingRequest(
            dataset_id=dataset.id,
            name=wanted.name,
            base=wanted.base,
            base_version=wanted.base_version,
            parameters=TrainingParameters(**structs.asdict(wanted.parameters)),
            webhook=hook,
            webhook_secret=secret,
            metadata=wanted.metadata,
        ),
    )
    training = await _ended(training, seconds)
    return _respond(training, 200 if training.status.terminal else 202, location=f"/v1/trainings/{training.id}")


@bp.get("/v1/trainings")
@operation("listTrainings", "Trainings", {200: ("A page.", schemas.TrainingPage)}, query=schemas.TrainingQuery)
def listing() -> Response:
    """List trainings.

    Newest first, without evidence, in pages.
    """
    query = parse(schemas.TrainingQuery, request.args)
    dataset = find_dataset(query.dataset)
    listing = trainings.list_with_places(
        container(),
        caller().tenant,
        status=query.status,
        name=query.name,
        dataset_id=dataset.id if dataset else None,
        before=query.cursor,
        limit=query.limit + 1,
    )
    page, following = cut(listing.page, query.limit)
    rows = [serializers.summary(row, listing.places.get(row.id, 0), listing.summaries.get(row.id, {})) for row in page]
    return respond(schemas.TrainingPage(trainings=rows, next=following))


@bp.get("/v1/trainings/<training_id>")
@operation(
    "getTraining",
    "Trainings",
    {200: ("The training.", schemas.Training), 304: ("Nothing has changed since that `ETag`.", None)},
    headers=[WAIT, IF_NONE_MATCH],
)
async def show(training_id: str) -> ResponseReturnValue:
    """Poll a training.

    Or wait for it, with `Prefer: wait=N`. Its evidence is there when it is DONE.
    """
    training = trainings.get(container(), caller().tenant, training_id)
    return _respond(await _ended(training, preferred_wait())).make_conditional(request)


@bp.delete("/v1/trainings/<training_id>")
@scope("models")
@operation("cancelTraining", "Trainings", {200: ("The training.", schemas.Training)})
def cancel(training_id: str) -> Response:
    """Cancel a training.

    Its result is discarded; the dataset and the other versions of the model stay as they are. 409 when it has ended.
    """
    return _respond(trainings.cancel(container(), caller().tenant, training_id))


@bp.get("/v1/trainings/<training_id>/events")
@operation(
    "followTraining",
    "Trainings",
    {200: ("Events; the data of each is a training without its evidence.", Media(["text/event-stream"]))},
)
def events(training_id: str) -> Response:
    """Follow a training.

    Server-sent events: `status` and `progress` on changes, `done` at the end.
    """
    made, tenant = container(), caller().tenant
    trainings.get(made, tenant, training_id)

    def look() -> Snapshot:
        training = trainings.get(made, tenant, training_id)
        place = _place(made, training)
        return Snapshot(training.status, _mark(training, place), serializers.state(training, place).encode())

    return server_sent_events.stream(training_id, look)


@bp.get("/v1/trainings/<training_id>/plots/<plot>.<kind>")
@operation(
    "getPlot",
    "Trainings",
    {
        200: ("The plot.", Media(list(KINDS.values()))),
        304: ("Nothing has changed since that `ETag`.", None),
    },
    headers=[IF_NONE_MATCH],
)
def show_plot(training_id: str, plot: str, kind: str) -> ResponseReturnValue:
    """Fetch a plot of the evidence."""
    training = trainings.get(container(), caller().tenant, training_id)
    if plot not in serializers.PLOTS or kind not in KINDS:
        there = ", ".join(serializers.PLOTS)
        raise errors.NotFound(f"There is no plot {plot}.{kind}; there are: {there}, as {' or '.join(KINDS)}.")

    def look() -> None:
        if trainings.get(made, training.tenant, training.id).status is not Status.DONE:
            raise errors.NotFound(f"The training {training.id} is {training.status} and has no plots.")

    made = container()
    data = absences.read(made, plot_key(training.id, f"{plot}.{kind}"), f"the plots of training {training.id}", look)
    response = Response(data, mimetype=KINDS[kind])
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'"
    response.headers["Cache-Control"] = "private, max-age=3600"
    response.set_etag(hashlib.sha256(data).hexdigest()[:16])
    return response.make_conditional(request)


async def _ended(training: Training, seconds: float) -> Training:
    if training.status.terminal:
        return training
    return await waited(training, seconds, lambda most: trainings.wait(container(), training.tenant, training.id, most))


def _respond(training: Training, status: int = 200, *, location: str = "") -> Response:
    place = _place(container(), training)
    again = 0 if training.status.terminal else POLL_AGAIN
    response = respond(serializers.training(training, place), status, location=location, retry_after=again)
    mark = f"{training.id}{training.status}{_mark(training, place)}"
    response.set_etag(hashlib.sha256(mark.encode()).hexdigest()[:16])
    return response


def _place(container: Container, training: Training) -> int:
    """Return the place in the queue; 0 if the training is not QUEUED."""
    return trainings.position(container, training) if training.status is Status.QUEUED else 0


def _mark(training: Training, place: int) -> tuple[float, str, int, int]:
    """Return a value that changes with every progress within the same status."""
    return training.progress, training.message, len(training.curve), place


def _webhook(wanted: schemas.TrainingRequest) -> tuple[str, str]:
    """Return (URL, secret), as jobs accept it, or with `webhook_secret` beside the URL; raises BadOption."""
    webhook: Any = wanted.webhook
    if wanted.webhook_secret:
        webhook = {"url": webhook, "secret": wanted.webhook_secret}
    return jobs.webhook(webhook)
