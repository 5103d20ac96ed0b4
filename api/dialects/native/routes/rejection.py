"""`/v1/models/{name}/versions/{version}/rejection`: the rule by which a version does not believe an answer."""

from __future__ import annotations

from flask import Response
from flask.typing import ResponseReturnValue

from api.context import caller, container, scope, waited
from api.dialects.native.openapi.operations import Body, OperationsBlueprint, operation
from api.dialects.native.requests.common import find_dataset, parse_json
from api.dialects.native.serializers import models as serializers
from api.dialects.native.serializers.common import respond
from shared import errors
from shared.domain.rejection import RejectionRequest
from shared.schemas import models as schemas
from shared.services import rejection
from shared.services.rejection import Fit

bp = OperationsBlueprint("native-rejection", __name__)
_PATH = "/v1/models/<name>/versions/<version>/rejection"
POLL_AGAIN = 1
"""Seconds after which a caller should look again at a rule that is being fitted."""


@bp.get(_PATH)
@operation("getRejection", "Models", {200: ("The rule.", schemas.RejectionFit)})
def show(name: str, version: str) -> Response:
    """Look at the rejection rule of a version."""
    return _respond(rejection.get(container(), caller().tenant, name, version))


@bp.put(_PATH)
@scope("models")
@operation(
    "setRejection",
    "Models",
    {
        200: ("The rule, or why it could not be fitted.", schemas.RejectionFit),
        202: ("A worker fits it; look again.", schemas.RejectionFit),
    },
    body=Body(
        json=schemas.RejectionRequest,
        example={"precision": 0.95, "dataset": "flowers", "unknown_label": "unknown"},
    ),
)
async def choose(name: str, version: str) -> Response:
    """Have a rejection rule fitted.

    A worker runs at most 2,000 pictures of the dataset, of those that the version has not learned from, and chooses the
    lowest score and the largest distance from their features that are believed. Its answers then say `confident`.
    Without `precision` and `dataset`, the label of the present rule is changed. 400 if the labels of the dataset are
    not those of the version.
    """
    wanted = parse_json(schemas.RejectionRequest)
    dataset, tenant = find_dataset(wanted.dataset), caller().tenant
    if wanted.precision is None and dataset is None:
        return _respond(rejection.relabel(container(), tenant, name, version, wanted.unknown_label))
    if wanted.precision is None or dataset is None:
        raise errors.BadOption("a rejection rule needs both precision and dataset, on which it is fitted")
    request = RejectionRequest(wanted.precision, dataset.id, wanted.unknown_label)
    begun = rejection.request(container(), tenant, name, version, request)
    fit = await waited(begun, container().settings.max_wait, lambda most: rejection.wait(container(), begun, most))
    return _respond(fit, 202 if fit.is_running else 200)


@bp.delete(_PATH)
@scope("models")
@operation("removeRejection", "Models", {204: ("It believes all its answers.", None)})
def remove(name: str, version: str) -> ResponseReturnValue:
    """Remove the rejection rule of a version.

    Answers that were given before stay as they are.
    """
    rejection.remove(container(), caller().tenant, name, version)
    return "", 204


def _respond(fit: Fit, status: int = 200) -> Response:
    return respond(serializers.rejection_fit(fit), status, retry_after=POLL_AGAIN if fit.is_running else 0)
