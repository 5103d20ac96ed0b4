"""The wire of SAP Leonardo's image services, all three generations of it, as their documentation and clients show it.

    2017, v1   /inference_sync, /ml/imageclassifier/inference_sync, ...             `_id`, `processed_time`, `QUEUED`
    2018       /ml/imageclassification/classification, ...                          `id`, `processedTime`, `PENDING`
    2019, v2   /api/v2/image/classification, the same under /mlfs, .../models/{name}/versions/{version}

Every one of them takes multipart `files` (one picture, several, or one flat archive) and `options` (a JSON object,
which is given back and has no effect here), waits, and answers 200; a wait that runs out is a 202 with the job.
`.../jobs` and `.../jobs/{id}` beside each (for v1 at the root too) submit and poll. The path decides the style in
which a job and a complaint are written, and below which door one stands: the sandbox's gateway (`/ml`, `/mlfs`) has
words of its own for keys and rates. Not served: similarity scoring, OCR, object detection.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from email.utils import formatdate
from functools import partial
from http import HTTPStatus
from typing import Any

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue

from api import auth, reading
from api.context import caller, scope, tools, wait_for
from shared import errors, images, jobs
from shared.errors import InferqError
from shared.jobs import Item, Job, Options, Status, Submission
from shared.settings import Settings

PREFIXES = ("/inference_sync", "/jobs", "/ml", "/mlfs", "/api/v2", "/oauth")
FORMATS = frozenset({"JPEG", "PNG", "GIF", "TIFF", "BMP"})
TOKEN_PATH = "/oauth/token"  # noqa: S105  # a path
TOKEN_SECONDS = 43199
"""As documented. Our tokens are keys and live longer; a client that comes for a new one is given it again."""


@dataclass(frozen=True)
class Service:
    """One inference service at one address."""

    path: str
    task: str = "classify"
    product: bool = False
    """Classifies by the model that the setting names."""
    retrained: bool = False
    """Also answers below `/models/{name}/versions/{version}`."""


SERVICES = (
    Service("/inference_sync"),
    Service("/ml/imageclassifier/inference_sync"),
    Service("/ml/featureextraction/inference_sync", "features"),
    Service("/ml/prodimgclassifier/inference_sync", product=True),
    Service("/ml/imageclassification/classification"),
    Service("/ml/imagefeatureextraction/feature-extraction", "features"),
    Service("/mlfs/api/v2/image/classification", retrained=True),
    Service("/mlfs/api/v2/image/feature-extraction", "features", retrained=True),
    Service("/api/v2/image/classification", retrained=True),
    Service("/api/v2/image/feature-extraction", "features", retrained=True),
)
ROUTED = tuple(service.path.rpartition("/")[0] for service in SERVICES if service.path.startswith("/ml/"))
"""What the sandbox's gateway knows; below these a service answers, beside these only the gateway."""


def blueprints(settings: Settings) -> Sequence[Blueprint]:
    """All paths of all generations."""
    bp = Blueprint("sap-leonardo", __name__)
    for service in SERVICES:
        _add(bp, service, service.path, f"{service.path}/jobs")
        if service.retrained:
            base = f"{service.path}/models/<model>/versions/<version>"
            _add(bp, service, base, f"{base}/jobs")
    root = SERVICES[0]
    bp.add_url_rule("/jobs", "submit-/jobs", partial(submit, root), methods=["POST"])
    bp.add_url_rule("/jobs/<job_id>", "poll-/jobs", poll, methods=["GET"])
    bp.add_url_rule(TOKEN_PATH, "token", token, methods=["GET", "POST"])
    bp.before_app_request(_bring_credential)
    return [bp]


def _add(bp: Blueprint, service: Service, path: str, jobs_path: str) -> None:
    # An endpoint per path: rules that share one and differ in `defaults` redirect to each other.
    bp.add_url_rule(path, f"infer-{path}", partial(infer, service), methods=["POST"])
    bp.add_url_rule(jobs_path, f"submit-{path}", partial(submit, service), methods=["POST"])
    bp.add_url_rule(f"{jobs_path}/<job_id>", f"poll-{path}", poll, methods=["GET"])


# the views


@scope("infer")
def infer(service: Service, model: str = "", version: str = "") -> ResponseReturnValue:
    """Classify, or extract features, and wait: 200 with the answer; 202 with the job when the wait runs out."""
    job, _ = jobs.submit(tools(), caller().tenant, read(service, model, version))
    job = wait_for(job, tools().settings.max_wait)
    jobs.blame(tools(), job)
    return write(job, f"{request.path.rstrip('/')}/jobs/{job.id}")


@scope("infer")
def submit(service: Service, model: str = "", version: str = "") -> ResponseReturnValue:
    """The same without waiting: 202 with the job."""
    job, _ = jobs.submit(tools(), caller().tenant, read(service, model, version))
    return write(job, f"{request.path.rstrip('/')}/{job.id}")


@scope("infer")
def poll(job_id: str, model: str = "", version: str = "") -> ResponseReturnValue:
    """The job as it is: always 200, as its clients look at `status` only."""
    return write(jobs.get(tools(), caller().tenant, job_id))


def token() -> ResponseReturnValue:
    """An API key, sent as `clientsecret`, in exchange for itself: it is what the other paths take as a bearer token."""
    if request.values.get("grant_type", "client_credentials") != "client_credentials":
        raise errors.BadOption("grant_type must be client_credentials")
    key = next(auth.credentials(request), "")
    if not key:
        raise errors.Unauthorized
    body = {"access_token": key, "token_type": "bearer", "expires_in": TOKEN_SECONDS}
    return jsonify(body | {"scope": " ".join(caller().scopes), "jti": secrets.token_hex(16)})


def _bring_credential() -> None:
    """Put the client secret of a token request where `api.auth`, which comes next, looks for credentials."""
    if request.path != TOKEN_PATH:
        return
    request.max_content_length = reading.SMALL  # before anybody has shown a key
    basic = request.authorization
    secret = basic.password if basic and basic.type == "basic" else request.form.get("client_secret")
    request.environ["HTTP_AUTHORIZATION"] = f"Bearer {secret}" if secret else ""


# reading


def read(service: Service, model: str, version: str) -> Submission:
    """The multipart body as a submission; pictures are looked at while the job stores them."""
    settings = tools().settings
    if not request.files:
        raise errors.NoInput("There is no file. Send one picture, several, or one archive as the part `files`.")
    side = settings.sap_max_side if _is_v1() else 0
    limits = replace(reading.limits(settings), formats=FORMATS, max_side=side)
    return Submission(
        pictures=images.pictures(reading.files(request), limits),
        model=model or (settings.sap_product_model if service.product else ""),
        version=version,
        options=Options(task=service.task, top_k=5),
        metadata=reading.Fields(request.form).mapping("options"),
        wire="sap",
    )


def _is_v1() -> bool:
    path = request.path
    return "/inference_sync" in path or path == "/jobs" or path.startswith("/jobs/")


# writing


def write(job: Job, accepted_at: str = "") -> ResponseReturnValue:
    """The job in the style of the path that was called; a 202 with where to poll, if given, until it has ended."""
    with tools().records.read() as r:
        items = r.jobs.items(job.id)
    response = jsonify(_body(job, items) if _is_v1() else _renamed(_body(job, items)))
    if not job.status.terminal:
        response.headers["Retry-After"] = "1"
        if accepted_at:
            response.status_code = 202
            response.headers["Location"] = accepted_at
    return response


def _body(job: Job, items: Sequence[Item]) -> dict[str, Any]:
    """A job in the style of v1; what is not known before the end is left out until then."""
    body: dict[str, Any] = {"_id": job.id}
    if job.status.terminal:
        body["predictions"] = [_prediction(job, item) for item in items]
        body["processed_time"] = formatdate(job.finished_at, usegmt=True)
    body["request"] = {
        "files": [item.name for item in items],
        "options": dict(job.metadata),
        "tenantName": job.tenant,
        "texts": [],
    }
    failed = job.status.terminal and job.status is not Status.DONE
    body |= {"status": "FAILED" if failed else job.status, "tenantName": job.tenant}
    return body | _complaint(_reason(job, items)) if failed else body


def _renamed(body: dict[str, Any]) -> dict[str, Any]:
    """The same in the style of v2."""
    names = {"_id": "id", "processed_time": "processedTime"}
    renamed = {names.get(name, name): value for name, value in body.items()}
    return renamed | {"status": "PENDING"} if body["status"] == "QUEUED" else renamed


def _prediction(job: Job, item: Item) -> dict[str, Any]:
    """One picture's answer; one that failed keeps its place and its name, with nothing and the reason in it."""
    features = job.options.task == "features"
    field = "featureVectors" if features else "results"
    if item.result is None:
        return {"name": item.name, field: [], "error": _words(_reason(job, [item]))[1]}
    return {
        "name": item.name,
        field: item.result if features else [{"label": label, "score": score} for label, score in item.result],
    }


def _reason(job: Job, items: Sequence[Item]) -> InferqError:
    """What the first picture that failed failed by; where none did, what ended the job before they ran."""
    first = next((item for item in items if item.error_code), None)
    if first is not None:
        return errors.by_code(first.error_code, first.error)
    return InferqError(job.error or f"The job was {job.status.lower()}.")


# complaining


def write_error(error: InferqError) -> ResponseReturnValue:
    """The envelope of the path's generation, or the gateway's, or OAuth's; JSON always, as clients parse any status."""
    if isinstance(error, errors.ModelNotReady):  # to this wire, a service that is not deployed yet
        error = errors.Unavailable(error.message)
    if request.path.startswith("/oauth"):
        return jsonify(_oauth_error(error)), error.status
    if fault := _fault(error):
        return jsonify(fault={"faultstring": fault[0], "detail": {"errorcode": fault[1]}}), error.status
    id_name = "_id" if _is_v1() else "id"
    return jsonify(_complaint(error) | ({id_name: error.job_id} if error.job_id else {})), error.status


def _complaint(error: InferqError) -> dict[str, Any]:
    title, description = _words(error)
    if _is_v1():
        return {"error": title, "error_description": description, "status_code": error.status}
    if isinstance(error, errors.ArchiveNotFlat):
        description = "Absolute path, or hierarchy in archive file is not allowed"
    if isinstance(error, errors.BadRequest):
        # A title that ends in a colon gets another one: that is what clients have seen.
        description = f"{_V2_TITLES.get(title, title)}: {description}"
    return {"error": {"code": str(error.status), "message": description}}


_V2_TITLES = {"Invalid Archive Input": "Invalid request"}


def _words(error: InferqError) -> tuple[str, str]:
    """(error, error_description) as v1 has them; the caller's fault in the words of the wire where it has some."""
    if isinstance(error, (errors.BadArchive, errors.ArchiveWithFiles)):
        return "Invalid Archive Input", error.message
    if isinstance(error, (errors.NotAPicture, errors.WrongFormat)):
        return "Error when uploading files:", "Invalid file type"
    if isinstance(error, errors.BadPicture):
        return "Error when uploading files:", error.message
    if isinstance(error, errors.BadRequest):
        return "Invalid request", error.message
    if isinstance(error, errors.NotFound) and request.url_rule is None:
        return "Not Found", f"URL does not exist: {request.path}"
    return HTTPStatus(error.status).phrase, error.message


def _fault(error: InferqError) -> tuple[str, str] | None:
    """(faultstring, errorcode) for what the sandbox's gateway says itself, before any service is asked."""
    path = request.path
    if isinstance(error, errors.TooManyRequests):
        return error.message, "policies.ratelimit.QuotaViolation"
    if isinstance(error, errors.Unauthorized) and not path.startswith("/api/"):
        if any(auth.credentials(request)):
            return "Invalid ApiKey", "oauth.v2.InvalidApiKey"
        return "Failed to resolve API Key variable request.header.apikey", "steps.oauth.v2.FailedToResolveAPIKey"
    if isinstance(error, errors.NotFound) and path.startswith("/ml/") and not path.startswith(ROUTED):
        return f"There is no route to {path}", "messaging.runtime.RouteFailed"
    return None


def _oauth_error(error: InferqError) -> dict[str, str]:
    if isinstance(error, errors.Unauthorized):
        return {"error": "unauthorized", "error_description": "Bad credentials"}
    name = "unsupported_grant_type" if isinstance(error, errors.BadOption) else "invalid_request"
    return {"error": name, "error_description": error.message}
