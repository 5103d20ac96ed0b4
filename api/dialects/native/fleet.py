"""`/v1/queue` and `/v1/workers`: what waits, how long it will take, and who works."""

from __future__ import annotations

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from api.context import tools
from api.dialects.native import views
from api.health import queue_by_model

bp = Blueprint("native-fleet", __name__)


@bp.get("/v1/queue")
def queue() -> ResponseReturnValue:
    """Per model, version and priority; the tenants are added up, since who they are is nobody's business."""
    names = ("model", "version", "priority")
    rows = [dict(zip(names, where, strict=True)) | depth for where, depth in queue_by_model(tools()).items()]
    return jsonify(
        queue=rows,
        waiting=sum(int(row["waiting"]) for row in rows),
        running=sum(int(row["running"]) for row in rows),
    )


@bp.get("/v1/workers")
def workers() -> ResponseReturnValue:
    """Every worker that is alive, as it described itself at its last heartbeat."""
    rows = tools().queue.workers()
    shown = [{name: value for name, value in row.items() if name != "rates"} for row in rows]
    return jsonify(workers=[row | {"since": views.iso(row["since"])} for row in shown])
