"""Error responses in the style of the path: v1, v2, the sandbox's gateway, or OAuth."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from flask import jsonify, request
from flask.typing import ResponseReturnValue

from api import auth
from api.dialects.sap_leonardo.services import ROUTED, is_v1
from shared import errors
from shared.errors import InferqError


def write_error(error: InferqError) -> ResponseReturnValue:
    """Return the error of the path's generation, the gateway, or OAuth; always JSON, as clients parse any status."""
    if isinstance(error, errors.ModelNotReady):  # on this wire, the service is not deployed yet
        error = errors.Unavailable(error.message)
    if request.path.startswith("/oauth"):
        return jsonify(_oauth_error(error)), error.status
    if fault := _fault(error):
        return jsonify(fault={"faultstring": fault[0], "detail": {"errorcode": fault[1]}}), error.status
    id_name = "_id" if is_v1() else "id"
    return jsonify(complaint(error) | ({id_name: error.job_id} if error.job_id else {})), error.status


def complaint(error: InferqError) -> dict[str, Any]:
    """Return the error fields in the style of v1 or v2; a failed job contains them too."""
    title, description = words(error)
    if is_v1():
        return {"error": title, "error_description": description, "status_code": error.status}
    if isinstance(error, errors.ArchiveNotFlat):
        description = "Absolute path, or hierarchy in archive file is not allowed"
    if isinstance(error, errors.BadRequest):
        # A title that ends in a colon gets a second colon, because clients expect the vendor's text.
        description = f"{_V2_TITLES.get(title, title)}: {description}"
    return {"error": {"code": str(error.status), "message": description}}


_V2_TITLES = {"Invalid Archive Input": "Invalid request"}


def words(error: InferqError) -> tuple[str, str]:
    """Return (error, error_description) as in v1; errors of the caller in the vendor's words where there are any."""
    if isinstance(error, (errors.BadArchive, errors.ArchiveWithFiles)):
        return "Invalid Archive Input", error.message
    if isinstance(error, (errors.NotAPicture, errors.WrongFormat)):
        # The vendor's text names no file; of several, the caller must know which.
        return (
            "Error when uploading files:",
            f"Invalid file type: {error.message}" if error.place else "Invalid file type",
        )
    if isinstance(error, errors.BadPicture):
        return "Error when uploading files:", error.message
    if isinstance(error, errors.BadRequest):
        return "Invalid request", error.message
    if isinstance(error, errors.NotFound) and request.url_rule is None:
        return "Not Found", f"URL does not exist: {request.path}"
    return HTTPStatus(error.status).phrase, error.message


def _fault(error: InferqError) -> tuple[str, str] | None:
    """Return (faultstring, errorcode) of an error that the sandbox's gateway answers before any service; or None."""
    path = request.path
    if isinstance(error, errors.TooManyRequests):
        return error.message, "policies.ratelimit.QuotaViolation"
    if isinstance(error, errors.KeyExpired) and not path.startswith("/api/"):
        return f"Key Expired: {error.message}", "keymanagement.service.consumer_key_expired"
    if isinstance(error, errors.Unauthorized) and not path.startswith("/api/"):
        if any(auth.credentials(request)):
            return "Invalid ApiKey", "oauth.v2.InvalidApiKey"
        return "Failed to resolve API Key variable request.header.apikey", "steps.oauth.v2.FailedToResolveAPIKey"
    if isinstance(error, errors.NotFound) and path.startswith("/ml/") and not path.startswith(ROUTED):
        return f"There is no route to {path}", "messaging.runtime.RouteFailed"
    return None


def _oauth_error(error: InferqError) -> dict[str, str]:
    if isinstance(error, errors.Unauthorized):
        reason = f": {error.message}" if isinstance(error, errors.KeyExpired) else ""
        return {"error": "unauthorized", "error_description": f"Bad credentials{reason}"}
    name = "unsupported_grant_type" if isinstance(error, errors.BadOption) else "invalid_request"
    return {"error": name, "error_description": error.message}
