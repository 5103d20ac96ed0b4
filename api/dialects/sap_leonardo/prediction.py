"""Inference routes: multipart `files` and `options` in, labels or features out, on the paths of every generation.

Every service takes `files` (one picture, several, or one flat archive) and `options` (a JSON object, which is returned
and has no effect here), waits, and answers 200; a wait that runs out is a 202 with the job. `.../jobs` and
`.../jobs/{id}` beside each (for v1 at the root too) submit and poll.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence
from dataclasses import replace
from email.utils import formatdate
from functools import partial
from typing import Any

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue

from api import auth, reading
from api.context import caller, container, link, scope, wait_for
from api.dialects.sap_leonardo import similarity
from api.dialects.sap_leonardo.errors import complaint, words
from api.dialects.sap_leonardo.services import (
    FORMATS,
    RETRAINING,
    SERVICES,
    TOKEN_PATH,
    WIRE,
    Service,
    addresses,
    is_v1,
)
from shared import errors
from shared.domain.jobs import AnswerOptions, Item, Job, Status, Submission
from shared.domain.models import ModelVersion
from shared.domain.rejection import answer_without_doubt
from shared.errors import InferqError
from shared.imaging import images
from shared.services import jobs, models

_MODEL_NAMES = ("model", "modelName", "version", "modelVersion")
TOKEN_SECONDS = 43199
"""Seconds, as documented. The tokens are API keys and last longer; a client that renews gets the same key again."""


def blueprint() -> Blueprint:
    """Return the blueprint with all inference paths of all generations."""
    bp = Blueprint("sap-leonardo", __name__)
    for service in SERVICES:
        for path in addresses(service):
            _add(bp, service, path)
    root = SERVICES[0]
    bp.add_url_rule("/jobs", "submit-/jobs", partial(submit, root), methods=["POST"])
    bp.add_url_rule("/jobs/<job_id>", "poll-/jobs", poll, methods=["GET"])
    similarity.add_routes(bp)
    bp.add_url_rule(TOKEN_PATH, "token", token, methods=["GET", "POST"])
    return bp


def _add(bp: Blueprint, service: Service, path: str) -> None:
    # Each path has an endpoint: rules that share an endpoint and differ in `defaults` would redirect to each other.
    bp.add_url_rule(path, f"infer-{path}", partial(infer, service), methods=["POST"])
    bp.add_url_rule(f"{path}/jobs", f"submit-{path}", partial(submit, service), methods=["POST"])
    bp.add_url_rule(f"{path}/jobs/<job_id>", f"poll-{path}", poll, methods=["GET"])


# routes


@scope("infer")
async def infer(service: Service, model: str = "", version: str = "") -> ResponseReturnValue:
    """Classify, or extract features, and wait: 200 with the answer; 202 with the job when the wait runs out."""
    longest = container().settings.max_wait
    job, _ = await jobs.submit(container(), caller().tenant, read(service, model, version), longest)
    job = await wait_for(job, longest)
    jobs.raise_failure(container(), job)
    return write(job, f"{request.path.rstrip('/')}/jobs/{job.id}")


@scope("infer")
async def submit(service: Service, model: str = "", version: str = "") -> ResponseReturnValue:
    """Submit the pictures without waiting: 202 with the job."""
    job, _ = await jobs.submit(container(), caller().tenant, read(service, model, version))
    return write(job, f"{request.path.rstrip('/')}/{job.id}")


@scope("infer")
def poll(job_id: str, model: str = "", version: str = "") -> ResponseReturnValue:
    """Return the job as it is, always with 200, as the clients read `status` only."""
    job = jobs.get(container(), caller().tenant, job_id)
    if job.search is not None:  # a search of the native wire, whose answer has no place in those of this one
        raise errors.NotFound(f"There is no job {job_id}.")
    return write(job)


@auth.public
def token() -> ResponseReturnValue:
    """Return the API key that was sent as client secret: it is the bearer token of the other paths."""
    request.max_content_length = reading.SMALL  # a small limit, as the caller is not authenticated yet
    if request.values.get("grant_type", "client_credentials") != "client_credentials":
        raise errors.BadOption("grant_type must be client_credentials")
    basic = request.authorization
    key = basic.password if basic and basic.type == "basic" else request.form.get("client_secret")
    if not key:
        raise errors.Unauthorized
    identity = auth.admit([key])
    left = math.inf if identity.expires_at is None else identity.expires_at - container().now()
    body = {"access_token": key, "token_type": "bearer", "expires_in": int(min(TOKEN_SECONDS, left))}
    return jsonify(body | {"scope": " ".join(identity.scopes), "jti": secrets.token_hex(16)})


# parsing


def read(service: Service, model: str, version: str) -> Submission:
    """Return the multipart body as a submission; its pictures are checked while the job stores them.

    Raises BadOption for a model in the query: this wire names it in the path, and another one would answer.
    """
    settings = container().settings
    if named := next((name for name in _MODEL_NAMES if name in request.args), ""):
        noun = "classification" if service.task == "classify" else "feature-extraction"
        raise errors.BadOption(
            f"{named} in the query chooses no model on this wire; the path does: "
            f"/api/v2/image/{noun}/models/NAME/versions/VERSION"
        )
    if not request.files:
        raise errors.NoInput("There is no file. Send one picture, several, or one archive as the part `files`.")
    product = settings.sap_product_model if service.product else ""
    chosen = _get_deployed(model or product, version)
    side = settings.sap_max_side if is_v1() else 0
    limits = replace(reading.limits(settings), formats=FORMATS, max_side=side, archive_folders=False)
    return Submission(
        pictures=images.pictures(reading.files(request), limits),
        model=chosen.name,
        version=chosen.version,
        options=AnswerOptions(task=service.task, top_k=5),
        metadata=reading.Fields(request.form).mapping("options"),
        wire=WIRE,
    )


def _get_deployed(model: str, version: str) -> ModelVersion:
    """Return the version that answers; raises NotFound for a version of this wire that is not, or no longer, deployed.

    If a canary is chosen that is not deployed, the default version answers on this wire.
    """
    chosen = models.get_ready_version(container(), caller().tenant, model, version)
    if chosen.requires_deployment and not version:
        chosen = models.get_version(container(), caller().tenant, model)
    if chosen.requires_deployment:
        raise errors.NotFound(
            f"Version {chosen.version} of model {chosen.name!r} is not deployed. Deploy it first: POST modelName and "
            f"modelVersion to {RETRAINING}/deployments."
        )
    return chosen


# serializers


def write(job: Job, accepted_at: str = "") -> ResponseReturnValue:
    """Return the job in the style of the path; until it has ended, 202 with the Location `accepted_at`, if given."""
    items = jobs.list_items(container(), job)
    response = jsonify(_body(job, items) if is_v1() else _v2_body(_body(job, items)))
    if not job.status.terminal:
        response.headers["Retry-After"] = "1"
        if accepted_at:
            response.status_code = 202
            response.headers["Location"] = link(accepted_at)
    return response


def _body(job: Job, items: Sequence[Item]) -> dict[str, Any]:
    """Return a job in the style of v1; fields that are unknown before the end are left out until then."""
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
    return body | complaint(_reason(job, items)) if failed else body


def _v2_body(body: dict[str, Any]) -> dict[str, Any]:
    """Return a v1 job in the style of v2."""
    names = {"_id": "id", "processed_time": "processedTime"}
    renamed = {names.get(name, name): value for name, value in body.items()}
    return renamed | {"status": "PENDING"} if body["status"] == "QUEUED" else renamed


def _prediction(job: Job, item: Item) -> dict[str, Any]:
    """Return one picture's answer; a failed picture keeps its place and name, with an empty result and the reason."""
    features = job.options.task == "features"
    field = "featureVectors" if features else "results"
    if item.result is None:
        return {"name": item.name, field: [], "error": words(_reason(job, [item]))[1]}
    return {
        "name": item.name,
        field: item.result if features else _labels(item),
    }


def _labels(item: Item) -> list[dict[str, Any]]:
    answer = answer_without_doubt(item.result, item.verdict)
    return [{"label": label, "score": score} for label, score in answer]


def _reason(job: Job, items: Sequence[Item]) -> InferqError:
    """Return the error of the first failed picture; without a failed picture, the error that ended the job."""
    first = next((item for item in items if item.error_code), None)
    if first is not None:
        return errors.by_code(first.error_code, first.error)
    return InferqError(job.error or f"The job was {job.status.lower()}.")
