"""`/v1/queue` and `/v1/workers`: what waits, how long it will take, and who works."""

from __future__ import annotations

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from api.context import caller, tools
from api.dialects.native import views
from api.health import queue_by_model

bp = Blueprint("native-fleet", __name__)


@bp.get("/v1/queue")
def queue() -> ResponseReturnValue:
    """Per model, version and priority, with other tenants' models added up as one."""
    names = ("model", "version", "priority")
    depths = queue_by_model(tools(), caller().tenant).items()
    rows = [dict(zip(names, where, strict=True)) | depth for where, depth in depths]
    return jsonify(
        queue=rows,
        waiting=sum(int(row["waiting"]) for row in rows),
        running=sum(int(row["running"]) for row in rows),
    )


@bp.get("/v1/workers")
def workers() -> ResponseReturnValue:
    """Every worker and every trainer that is alive, as it described itself at its last heartbeat."""
    with tools().records.read() as r:
        visible = {f"{version.name}/{version.version}" for version in r.versions.visible(caller().tenant)}
    rows = [
        {name: value for name, value in row.items() if name != "rates"}
        | {"since": views.iso(row["since"]), "models": [model for model in row["models"] if model in visible]}
        for row in tools().queue.workers()
    ]
    trainers = [row | {"since": views.iso(row["since"])} for row in tools().queue.workers("trainers")]
    return jsonify(workers=rows, trainers=trainers)
