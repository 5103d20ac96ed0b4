"""`/v1/queue` and `/v1/workers`: the waiting and running pictures, and the active workers and trainers."""

from __future__ import annotations

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from api.context import caller, container
from api.dialects.native.serializers import jobs_and_models
from api.health import queue_by_model
from shared.services import models

bp = Blueprint("native-fleet", __name__)


@bp.get("/v1/queue")
def queue() -> ResponseReturnValue:
    """Return the queue per model, version and priority; the models of other tenants are added up as one row."""
    names = ("model", "version", "priority")
    depths = queue_by_model(container(), caller().tenant).items()
    rows = [dict(zip(names, where, strict=True)) | depth for where, depth in depths]
    return jsonify(
        queue=rows,
        waiting=sum(int(row["waiting"]) for row in rows),
        running=sum(int(row["running"]) for row in rows),
    )


@bp.get("/v1/workers")
def workers() -> ResponseReturnValue:
    """Return every active worker and trainer, as its last heartbeat described it."""
    known = models.list_visible(container(), caller().tenant)
    visible = {f"{version.name}/{version.version}" for version in known}
    rows = [
        {name: value for name, value in row.items() if name != "rates"}
        | {"since": jobs_and_models.iso(row["since"]), "models": [model for model in row["models"] if model in visible]}
        for row in container().queue.workers.list()
    ]
    trainers = [
        row | {"since": jobs_and_models.iso(row["since"])} for row in container().queue.workers.list("trainers")
    ]
    return jsonify(workers=rows, trainers=trainers)
