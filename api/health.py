"""The health routes report liveness and readiness to orchestrators."""

from __future__ import annotations

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from api.auth import public
from api.context import container
from shared import errors
from shared.container import Container
from shared.domain.keys import DEFAULT_TENANT
from shared.domain.models import ALL_TENANTS, ModelState
from shared.schemas.workers import Readiness
from shared.services import models, workers

bp = Blueprint("health", __name__)


@bp.get("/healthz")
@public
def alive() -> ResponseReturnValue:
    """Answer 200 while the process runs. No dependency is checked, so an unreachable database restarts no API."""
    return jsonify(status="ok")


@bp.get("/readyz")
@public
def ready() -> ResponseReturnValue:
    """Answer 200 when database, Redis, storage, workers and the default model are ready; else 503 with the reasons.

    Workers are not ready while none runs, or while pictures wait for long and none claims any.
    """
    state = readiness(container())
    response = jsonify(state.to_json())
    response.status_code = 200 if state.is_ready else 503
    if not state.is_ready:
        response.headers["Retry-After"] = "1"
    return response


def readiness(container: Container) -> Readiness:
    """Return `ok` or the error message for each part of the service."""
    parts = {
        "database": _outcome(container.database.ping),
        "queue": _outcome(container.queue.ping),
        "storage": _outcome(container.storage.ping),
        "workers": _outcome(lambda: workers.check_claiming(container)),
        "model": _outcome(lambda: _check_default_model(container)),
    }
    return Readiness(status="ready" if all(text == "ok" for text in parts.values()) else "not ready", **parts)


def _outcome(check: object) -> str:
    try:
        check()  # type: ignore[operator]
    except errors.InferqError as error:
        return error.message
    return "ok"


def _check_default_model(container: Container) -> None:
    # A default model that could not be fetched does not make the service unready: callers may name or import another.
    version = models.get_version(container, DEFAULT_TENANT)
    if version.state is ModelState.CHECKING:
        if version.tenant != ALL_TENANTS:  # the answer is for all, and even its name is confidential
            raise errors.Unavailable("The default model is being checked.")
        raise errors.Unavailable(f"The default model {version.name} is being checked: {version.reason}.")
