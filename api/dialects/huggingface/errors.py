"""Error responses: `{"error": TEXT}`, with the vendor's texts where clients recognize them."""

from __future__ import annotations

import time
from typing import Any

from flask import g, request
from flask.typing import ResponseReturnValue

from api import auth
from api.context import held_threads
from api.dialects.huggingface import common, serializers
from shared import errors
from shared.domain.pictures import ALL_FORMATS
from shared.errors import InferqError

BODY = (
    f"the body must be a picture ({', '.join(sorted(ALL_FORMATS))}), or JSON that holds one in base64 as "
    "`inputs`; it is read neither as multipart nor as a URL"
)


def write_error(error: InferqError) -> ResponseReturnValue:
    """Return `{"error": TEXT}`; it is always a text, as one of the clients does not show a list."""
    status = _status(error)
    body: dict[str, Any] = {"error": _words(error)}
    if isinstance(error, errors.ModelNotReady):
        body["estimated_time"] = float(error.retry_after or common.PATIENCE)
    elif status == 503:
        _hold()
    response = serializers.write(body, status)
    if status in (400, 500) and "computing" in g:
        serializers.add_compute_headers(response, serializers.device())
    if status == 401:
        response.headers["X-Error-Message"] = body["error"]
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _status(error: InferqError) -> int:
    if isinstance(error, errors.ModelNotReady):
        return 503
    if isinstance(error, errors.ModelAbsent):
        return 404  # not 503: a client would send the picture again at once, and each time the weights are asked for
    if isinstance(error, errors.ModelRefused):
        return 500
    if isinstance(error, errors.StillRunning):
        return 504  # not 503: a client would resend the picture at once, and make the queue longer
    return error.status


def _words(error: InferqError) -> str:
    """Return the vendor's message where clients know one; else the message of the error."""
    model_id = common.model_id(**request.view_args) if request.view_args else ""
    if isinstance(error, errors.Unauthorized):
        presented = any(auth.credentials(request))
        reason = f": {error.message}" if isinstance(error, errors.KeyExpired) else ""
        return f"Invalid credentials in Authorization header{reason}" if presented else error.message
    if isinstance(error, (errors.NotAPicture, errors.WrongFormat, errors.BrokenPicture)):
        return f"cannot identify image file: {BODY if isinstance(error, errors.NotAPicture) else error.message}"
    if isinstance(error, errors.NotFound) and model_id:
        return f"Model {model_id} does not exist"
    if isinstance(error, errors.ModelNotReady):
        return f"Model {model_id} is currently loading"
    if isinstance(error, errors.TooManyRequests):
        return f"Rate limit reached. {error.message}"
    return "unknown error" if error.status == 500 else error.message


def _hold() -> None:
    """Hold the request for PATIENCE seconds while a dependency is unavailable, as its client would retry at once."""
    with held_threads().taken() as taken:
        if taken:
            time.sleep(common.PATIENCE)
