"""`/v1/queue`, `/v1/workers` and `/v1/history`: what waits, who runs, and what was done."""

from __future__ import annotations

from flask import Response, request

from api.context import caller, container
from api.dialects.native.openapi.operations import OperationsBlueprint, operation
from api.dialects.native.requests.common import parse
from api.dialects.native.serializers import history as history_serializers
from api.dialects.native.serializers import workers as serializers
from api.dialects.native.serializers.common import respond
from shared.schemas.history import History, HistoryQuery
from shared.schemas.workers import Queue, QueueQuery, WorkerList
from shared.services import history as history_service
from shared.services import models, queue_depths

bp = OperationsBlueprint("native-fleet", __name__)


@bp.get("/v1/queue")
@operation("getQueue", "Fleet", {200: ("The queue.", Queue)}, query=QueueQuery)
def queue() -> Response:
    """Look at the queue.

    Per model, version and priority, or per tenant as well; models of other tenants are added up under one name.
    """
    tenant, of_all = caller().tenant, caller().is_operator
    if parse(QueueQuery, request.args).by:
        return respond(serializers.queue(queue_depths.by_tenant(container(), tenant, of_all=of_all)))
    return respond(serializers.queue(queue_depths.by_model(container(), tenant)))


@bp.get("/v1/workers")
@operation("listWorkers", "Fleet", {200: ("The workers and trainers.", WorkerList)})
def workers() -> Response:
    """List the running workers and trainers.

    Each as its last heartbeat described it.
    """
    versions = models.list_visible(container(), caller().tenant)
    visible = {f"{version.name}/{version.version}" for version in versions}
    registry = container().queue.workers
    return respond(serializers.workers(registry.list(), registry.list("trainers"), visible))


@bp.get("/v1/history")
@operation("getHistory", "Fleet", {200: ("The history.", History)}, query=HistoryQuery)
def history() -> Response:
    """Look at the last hour or day.

    How many pictures arrived and were answered, how long that took, and how many waited; of the caller's own pictures,
    or of those of all tenants for a key of the operator: of the tenant `default`, with the scope `keys`.
    """
    span = parse(HistoryQuery, request.args).span
    seen = history_service.read(container(), None if caller().is_operator else caller().tenant, span)
    return respond(history_serializers.history(seen, "all" if caller().is_operator else "own"))
