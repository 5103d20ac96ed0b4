"""Error responses: the vendor's types and titles, with `errors` for invalid fields, else with `message`."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from flask import jsonify, request
from flask.typing import ResponseReturnValue

from api import auth
from shared import errors
from shared.errors import InferqError

FAULT = "Something unexpected happened on our side. Try again, and contact support if it happens again."
ERRORS = "https://docs.img-processing.com/errors/"
"""The prefix of the vendor's error pages: clients distinguish errors by these addresses."""


class Invalid(errors.BadRequest):
    """Fields of the request cannot be used."""

    def __init__(self, *complaints: str) -> None:
        """Set the error texts, each of which begins with the name of a field."""
        super().__init__("; ".join(complaints))
        self.complaints = complaints


def write_error(error: InferqError) -> ResponseReturnValue:
    """Return `type`, `error` and `status`, with `errors` for status 422 (an invalid field), else with `message`."""
    if isinstance(error, errors.MethodNotAllowed) and request.path == "/v1/images/imagine":
        error = errors.NotFound(f"There is nothing at {request.path}.")  # a call that is not served, not an image
    status = _status(error)
    title = _TITLES.get(status) or ("Internal Error" if status >= 500 else HTTPStatus(status).phrase)
    body: dict[str, Any] = {"type": ERRORS + title.lower().replace(" ", "-"), "error": title, "status": status}
    if status == 422:
        body["errors"] = error.complaints if isinstance(error, Invalid) else [_complaint(error)]
    else:
        body["message"] = _message(error, status)
    response = jsonify(body)
    if isinstance(error, (errors.StillRunning, errors.QuotaExceeded)):  # each retry would create another job, or fail
        response.headers["x-should-retry"] = "false"
    return response, status


_TITLES = {413: "Content Too Large", 422: "Validation Error"}
"""Titles that differ from the phrases of HTTP, or are not the same in every version of Python."""


def _status(error: InferqError) -> int:
    if isinstance(error, errors.BadRequest) and error.status == 400:
        return 422
    if isinstance(error, (errors.ModelNotReady, errors.ModelRefused)):
        return 503  # the caller chose no model, and can choose no other
    return error.status


def _complaint(error: InferqError) -> str:
    """Return the message of a BadOption, which names its field, as it is; else a message about the request."""
    return error.message if isinstance(error, errors.BadOption) else f"request cannot be used: {error.message}"


def _message(error: InferqError, status: int) -> str:
    if isinstance(error, errors.KeyExpired):
        return f"API key is not valid: {error.message}"
    if status == 401:
        return "API key is not valid." if any(auth.credentials(request)) else "API key is required."
    if status == 429:
        return "Rate limit exceeded. Try again later."
    if isinstance(error, (errors.StillRunning, errors.QuotaExceeded)):
        return error.message
    if status >= 500:
        return f"{error.message} {FAULT}" if status == 503 else FAULT
    return error.message
