"""The wire of Salesforce's Einstein Vision, both generations of its paths, `/v2` and `/v1`.

    accounts.py    /oauth2/token, /apiusage    access token for a signed assertion or a refresh token; remaining quota
    prediction.py  /vision/predict             one picture in, its labels out
    datasets.py    /vision/datasets…           archives of label folders, at once or in the background
    examples.py    …/labels, …/examples        single labels and examples; /vision/feedback
    training.py    /vision/train, /retrain     begin a training, and poll it
    models.py      /vision/models…             models of a dataset, metrics, learning curve, deletion

Its clients accept only 200 and 204 as a success, and an error is one sentence, as `message`. They wait for a
prediction: a wait that runs out is a 503, whose message names the job. The model id is the name of a model; training it
again adds a version and makes that version the default. Not served: object detection, pictures of several labels,
language.
"""

from __future__ import annotations

from collections.abc import Sequence

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue

from api import auth
from api.dialects.einstein_vision import accounts, datasets, examples, models, prediction, training
from api.dialects.einstein_vision.common import CONVERTERS, GENERATIONS
from api.dialects.einstein_vision.openapi_document import openapi
from shared import errors
from shared.domain.keys import Caller
from shared.errors import InferqError
from shared.settings import Settings

PREFIXES = ("/v2", "/v1/vision", "/v1/oauth2", "/v1/apiusage")


def blueprints(settings: Settings) -> Sequence[Blueprint]:
    """Return the blueprint with all calls, below the prefixes of both generations."""
    bp = Blueprint("einstein-vision", __name__)
    bp.record_once(lambda state: state.app.url_map.converters.update(CONVERTERS))
    for part in (accounts, prediction, datasets, examples, training, models):
        for path, method, route in part.CALLS:
            for prefix in GENERATIONS:
                bp.add_url_rule(f"{prefix}{path}", f"{route.__name__}-{prefix}", route, methods=[method])
    return [bp]


def allowance(settings: Settings, caller: Caller) -> str:
    """Return the rate limit of one tenant on this wire."""
    return settings.einstein_rate


def write_error(error: InferqError) -> ResponseReturnValue:
    """Return an error as one sentence in JSON. A Conflict becomes a 400: these clients know no 409."""
    return jsonify(message=_words(error)), 400 if isinstance(error, errors.Conflict) else error.status


def _words(error: InferqError) -> str:
    if isinstance(error, errors.KeyExpired) and not request.path.endswith(accounts.TOKEN_PATH):
        return f"Invalid access token: {error.message}"
    if isinstance(error, errors.Unauthorized) and not request.path.endswith(accounts.TOKEN_PATH):
        scheme = request.headers.get("Authorization", "").strip().partition(" ")[0].lower()
        presented = scheme in ("", "bearer", "bearer:") and any(auth.credentials(request))
        return "Invalid access token" if presented else "Invalid authentication scheme"
    if isinstance(error, (errors.BadPicture, errors.BadBase64)):
        return f"Bad Request: {error.message}"
    return error.message


__all__ = ["PREFIXES", "allowance", "blueprints", "openapi", "write_error"]
