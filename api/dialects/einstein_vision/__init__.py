"""The wire of Salesforce's Einstein Vision, both generations of its paths, `/v2` and `/v1`.

    accounts.py    /oauth2/token, /apiusage    a signed assertion, or a refresh token, for an access token; what is left
    prediction.py  /vision/predict             one picture in, its labels out
    datasets.py    /vision/datasets…           archives of label folders, at once or in the background
    examples.py    …/labels, …/examples        one by one; /vision/feedback
    training.py    /vision/train, /retrain     begun, and asked about
    models.py      /vision/models…             those of a dataset, metrics, learning curve, the end

Its clients take nothing but 200 and 204 for a success, and a complaint is one sentence, as `message`. On a prediction
they wait: a wait that runs out is a 503, whose message names the job. The model id is the name of a model; training it
again adds a version and makes that the default. Not served: object detection, pictures of several labels, language.
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
    """All calls, below both generations' prefixes."""
    bp = Blueprint("einstein-vision", __name__)
    bp.record_once(lambda state: state.app.url_map.converters.update(CONVERTERS))
    for part in (accounts, prediction, datasets, examples, training, models):
        for path, method, view in part.CALLS:
            for prefix in GENERATIONS:
                bp.add_url_rule(f"{prefix}{path}", f"{view.__name__}-{prefix}", view, methods=[method])
    return [bp]


def allowance(settings: Settings, caller: Caller) -> str:
    """How often one tenant may call."""
    return settings.einstein_rate


def write_error(error: InferqError) -> ResponseReturnValue:
    """One sentence, JSON always. What is in no state for a call is 400: these clients know no 409."""
    return jsonify(message=_words(error)), 400 if isinstance(error, errors.Conflict) else error.status


def _words(error: InferqError) -> str:
    if isinstance(error, errors.Unauthorized) and not request.path.endswith(accounts.TOKEN_PATH):
        scheme = request.headers.get("Authorization", "").strip().partition(" ")[0].lower()
        presented = scheme in ("", "bearer", "bearer:") and any(auth.credentials(request))
        return "Invalid access token" if presented else "Invalid authentication scheme"
    if isinstance(error, (errors.BadPicture, errors.BadBase64)):
        return f"Bad Request: {error.message}"
    return error.message


__all__ = ["PREFIXES", "allowance", "blueprints", "openapi", "write_error"]
