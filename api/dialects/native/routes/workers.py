"""`/v1/queue` and `/v1/workers`: the waiting and running pictures, and the active workers and trainers."""

from __future__ import annotations

from flask import Response

from api.context import caller, container
from api.dialects.native.openapi.operations import OperationsBlueprint, operation
from api.dialects.native.serializers import workers as serializers
from api.dialects.native.serializers.common import respond
from api.health import queue_by_model
from shared.schemas.workers import Queue, WorkerList
from shared.services import models

bp = OperationsBlueprint("native-fleet", __name__)


@bp.get("/v1/queue")
@operation("getQueue", "Fleet", {200: ("The queue.", Queue)})
def queue() -> Response:
    """Look at the queue.

    Per model, version and priority; the models of other tenants are added up as one row.
    """
    return respond(serializers.queue(queue_by_model(container(), caller().tenant)))


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
