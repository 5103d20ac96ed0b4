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

import re
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from email.utils import formatdate
from functools import partial
from http import HTTPStatus
from typing import Any

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue

from api import auth, describing, reading
from api.context import caller, scope, tools, wait_for
from api.describing import Part, Schema, answer, number, ref, several, text, thing, whole
from shared import errors, images, jobs
from shared.errors import InferqError
from shared.jobs import Item, Job, Options, Status, Submission
from shared.settings import Settings
from shared.tenants import Caller

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
        for path in _addresses(service):
            _add(bp, service, path)
    root = SERVICES[0]
    bp.add_url_rule("/jobs", "submit-/jobs", partial(submit, root), methods=["POST"])
    bp.add_url_rule("/jobs/<job_id>", "poll-/jobs", poll, methods=["GET"])
    bp.add_url_rule(TOKEN_PATH, "token", token, methods=["GET", "POST"])
    return [bp]


def allowance(settings: Settings, _caller: Caller) -> str:
    """How often one tenant may ask."""
    return settings.sap_rate


def _addresses(service: Service) -> Iterator[str]:
    """Where the service answers; its jobs are below each."""
    yield service.path
    if service.retrained:
        yield f"{service.path}/models/<model>/versions/<version>"


def _add(bp: Blueprint, service: Service, path: str) -> None:
    # An endpoint per path: rules that share one and differ in `defaults` redirect to each other.
    bp.add_url_rule(path, f"infer-{path}", partial(infer, service), methods=["POST"])
    bp.add_url_rule(f"{path}/jobs", f"submit-{path}", partial(submit, service), methods=["POST"])
    bp.add_url_rule(f"{path}/jobs/<job_id>", f"poll-{path}", poll, methods=["GET"])


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


@auth.public
def token() -> ResponseReturnValue:
    """An API key, sent as `clientsecret`, in exchange for itself: it is what the other paths take as a bearer token."""
    request.max_content_length = reading.SMALL  # before anybody has shown a key
    if request.values.get("grant_type", "client_credentials") != "client_credentials":
        raise errors.BadOption("grant_type must be client_credentials")
    basic = request.authorization
    key = basic.password if basic and basic.type == "basic" else request.form.get("client_secret")
    if not key:
        raise errors.Unauthorized
    who = auth.admit([key])
    body = {"access_token": key, "token_type": "bearer", "expires_in": TOKEN_SECONDS}
    return jsonify(body | {"scope": " ".join(who.scopes), "jti": secrets.token_hex(16)})


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


def _is_v1(path: str = "") -> bool:
    """Whether the path, the request's where none is given, is one of 2017."""
    path = path or request.path
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


# describing


def openapi(settings: Settings) -> Part:
    """Tag, paths and components of this wire, built from SERVICES."""
    about = (
        "SAP Leonardo's image services at the paths of all generations. `/inference_sync` and `/jobs` answer in the "
        "style of 2017, all others in that of v2. The key goes into the header `APIKey`, or is a bearer token."
    )
    paths: Part = {TOKEN_PATH: _token_calls()}
    for service in SERVICES:
        for address in _addresses(service):
            path = address.replace("<", "{").replace(">", "}")
            paths |= _inference(service, path, settings) | _job_calls(service, f"{path}/jobs", settings)
    paths |= _job_calls(SERVICES[0], "/jobs", settings)
    return {
        "tags": [{"name": "SAP Leonardo", "description": about}],
        "paths": paths,
        "components": {"schemas": _SCHEMAS},
    }


def _inference(service: Service, path: str, settings: Settings) -> Part:
    told = "The job, when the wait ran out; `Location` is where to poll."
    answers = {
        "200": answer("The answer, one prediction per picture in the order of upload.", _answer_of(path)),
        "202": answer(told, _answer_of(path)),
    }
    return {path: {"post": _call(service, path, "infer", "Waits for the answer.", answers, settings)}}


def _job_calls(service: Service, path: str, settings: Settings) -> Part:
    accepted = {"202": answer("The job; `Location` is where to poll.", _answer_of(path))}
    polled = {"200": answer("The job as it is; look at `status`.", _answer_of(path))}
    each = f"{path}/{{job_id}}"
    return {
        path: {"post": _call(service, path, "submit", "Does not wait.", accepted, settings)},
        each: {"get": _call(service, each, "poll", "A job of this wire; the path decides the style.", polled)},
    }


def _call(service: Service, path: str, verb: str, how: str, answers: Part, settings: Settings | None = None) -> Part:
    """One call; with the settings, one that takes pictures."""
    what = "Features of pictures." if service.task == "features" else "Labels of pictures with scores."
    style = ("2017" if _is_v1(path) else "v2") + (", chosen model" if "{model}" in path else "")
    parameters = [describing.path(name, _PATH_WORDS[name]) for name in re.findall(r"{(\w+)}", path)]
    complaint: Schema = {"oneOf": [ref("SapErrorV1" if _is_v1(path) else "SapErrorV2"), ref("SapFault")]}
    return describing.call(
        re.sub(r"\W+", "_", f"sap {verb} {path}").strip("_"),
        f"{_DEEDS[verb][service.task]} ({style})",
        f"{what} {how}",
        answers | {"default": answer("What is wrong; `fault` where the gateway says it.", complaint)},
        parameters=parameters,
        body=describing.body(form=_form(path, settings)) if settings else None,
    )


_DEEDS = {
    "infer": {"classify": "Classify and wait", "features": "Extract features and wait"},
    "submit": {"classify": "Submit for classification", "features": "Submit for features"},
    "poll": {"classify": "Poll a classification", "features": "Poll an extraction"},
}
_PATH_WORDS = {"model": "The model.", "version": "Its version.", "job_id": "The id of the job."}


def _form(path: str, settings: Settings) -> Schema:
    files = f"One picture, several, or one flat archive, as {', '.join(sorted(FORMATS))}."
    if _is_v1(path) and settings.sap_max_side:
        files += f" Each side must stay under {settings.sap_max_side} pixels."
    options = text("A JSON object, given back with the job; it has no effect.")
    return thing({"files": several(describing.binary(), files), "options": options}, required=["files"])


def _answer_of(path: str) -> Schema:
    return ref("SapJobV1" if _is_v1(path) else "SapJobV2")


def _token_calls() -> Part:
    grant = text(enum=["client_credentials"], default="client_credentials")
    words = "The key, sent as the client's secret, in exchange for itself: by Basic authentication or in the form."
    answers = {
        "200": answer("The token.", ref("SapToken")),
        "default": answer("Why there is none.", ref("SapOAuthError")),
    }
    form = thing({"grant_type": grant, "client_id": text("Anything."), "client_secret": text("The key.")})
    asked = describing.query("grant_type", grant)
    return {
        "get": describing.call("sap_get_token", "Fetch a token", words, answers, parameters=[asked]),
        "post": describing.call("sap_post_token", "Fetch a token", words, answers,
                                body=describing.body(required=False, urlencoded=form)),
    }  # fmt: skip


_PREDICTION = thing(
    {
        "name": text("The file, or the archive's member."),
        "results": several(thing({"label": text(), "score": number()}, required=["label", "score"]), "Best first."),
        "featureVectors": several(number(), "Flat; for feature extraction, in place of `results`."),
        "error": text("Why this picture has no answer, where others have one."),
    },
    required=["name"],
)
_REQUEST = thing(
    {"files": several(text()), "options": thing({}), "tenantName": text(), "texts": several(text())},
    description="What was asked.",
)
_TIME = "When it ended, in the format of HTTP dates."
_V1_ERROR = {"error": text(), "error_description": text(), "status_code": whole()}
_V2_ERROR = thing({"code": text("The status."), "message": text()}, required=["code", "message"])
_SCHEMAS = {
    "SapPrediction": _PREDICTION,
    "SapJobV1": thing(
        {
            "_id": text(),
            "predictions": several(ref("SapPrediction")),
            "processed_time": text(_TIME),
            "request": _REQUEST,
            "status": text(enum=["QUEUED", "RUNNING", "DONE", "FAILED"]),
            "tenantName": text(),
            **_V1_ERROR,
        },
        required=["_id", "request", "status", "tenantName"],
    ),
    "SapJobV2": thing(
        {
            "id": text(),
            "predictions": several(ref("SapPrediction")),
            "processedTime": text(_TIME),
            "request": _REQUEST,
            "status": text(enum=["PENDING", "RUNNING", "DONE", "FAILED"]),
            "tenantName": text(),
            "error": _V2_ERROR,
        },
        required=["id", "request", "status", "tenantName"],
    ),
    "SapErrorV1": thing(_V1_ERROR | {"_id": text("The job that failed by it.")}, required=list(_V1_ERROR)),
    "SapErrorV2": thing({"error": _V2_ERROR, "id": text("The job that failed by it.")}, required=["error"]),
    "SapFault": thing(
        {"fault": thing({"faultstring": text(), "detail": thing({"errorcode": text()})})}, required=["fault"]
    ),
    "SapToken": thing(
        {
            "access_token": text(),
            "token_type": text(enum=["bearer"]),
            "expires_in": whole("Seconds."),
            "scope": text(),
            "jti": text(),
        },
        required=["access_token", "token_type", "expires_in", "scope", "jti"],
    ),
    "SapOAuthError": thing({"error": text(), "error_description": text()}, required=["error", "error_description"]),
}
