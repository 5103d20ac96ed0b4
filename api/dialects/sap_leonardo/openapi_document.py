"""This wire's part of the OpenAPI document: tag, inference and token calls; retraining has a file of its own."""

from __future__ import annotations

import re

from api import openapi_builder
from api.dialects.sap_leonardo import openapi_retraining
from api.dialects.sap_leonardo.services import FORMATS, SERVICES, SIMILARITY, TOKEN_PATH, Service, addresses, is_v1
from api.openapi_builder import Part, Schema, number, ref, response, several, text, thing, whole
from shared.settings import Settings


def openapi(settings: Settings) -> Part:
    """Return the tag, paths and components of this wire; the inference paths are built from SERVICES."""
    about = (
        "SAP Leonardo's image services at the paths of all generations. `/inference_sync` and `/jobs` answer in the "
        "style of 2017, all others in that of v2. The key goes into the header `APIKey`, or is a bearer token."
    )
    paths: Part = {TOKEN_PATH: _token_calls()}
    for service in SERVICES:
        for address in addresses(service):
            path = address.replace("<", "{").replace(">", "}")
            paths |= _inference(service, path, settings) | _job_calls(service, f"{path}/jobs", settings)
    paths |= _job_calls(SERVICES[0], "/jobs", settings)
    paths |= {path: {"post": _similarity(path)} for path in SIMILARITY}
    return {
        "tags": [{"name": "SAP Leonardo", "description": about}],
        "paths": paths | openapi_retraining.paths(),
        "components": {"schemas": _SCHEMAS | openapi_retraining.SCHEMAS},
    }


def _inference(service: Service, path: str, settings: Settings) -> Part:
    late = "The job, if the wait ran out; poll the URL in `Location`."
    answers = {
        "200": response("The answer, one prediction per picture in the order of upload.", _answer_of(path)),
        "202": response(late, _answer_of(path)),
    }
    return {path: {"post": _call(service, path, "infer", "Waits for the answer.", answers, settings)}}


def _similarity(path: str) -> Part:
    v1 = is_v1(path)
    description = (
        "Cosine similarity of vectors, such as those of feature extraction. One group is compared with itself; of two, "
        "the vectors of the first with those of the second."
    )
    complaint: Schema = {"oneOf": [ref("SapErrorV1" if v1 else "SapErrorV2"), ref("SapFault")]}
    answers = {
        "200": response("The most similar vectors of each.", ref("SapSimilarityV1" if v1 else "SapSimilarityV2")),
        "default": response("The error; `fault` if the gateway refused the request.", complaint),
    }
    form = thing(
        {
            "texts": text('One or two groups in JSON: `{"0": [{"id": "a", "vector": [0.1, 0.2]}, …]}`.'),
            "files": several(
                openapi_builder.binary(),
                "In place of `texts`: a flat archive for each group, whose members are vectors as JSON lists; their "
                "names are the ids.",
            ),
            "options": text(
                "A JSON object: `numSimilarVectors` is required, `algorithm` (`naive`, `matrix_mult`, `clustering`) "
                "has no effect."
            ),
        },
        required=["options"],
    )
    operation_id = re.sub(r"\W+", "_", f"sap score {path}").strip("_")
    summary = f"Score similarity ({'2017' if v1 else 'v2'}, {path.split('/')[1]})"
    return openapi_builder.call(operation_id, summary, description, answers, body=openapi_builder.body(form=form))


def _job_calls(service: Service, path: str, settings: Settings) -> Part:
    accepted = {"202": response("The job; poll the URL in `Location`.", _answer_of(path))}
    polled = {"200": response("The job as it is; see `status`.", _answer_of(path))}
    job_path = f"{path}/{{job_id}}"
    return {
        path: {"post": _call(service, path, "submit", "Does not wait.", accepted, settings)},
        job_path: {"get": _call(service, job_path, "poll", "A job of this wire; the path decides the style.", polled)},
    }


def _call(service: Service, path: str, verb: str, how: str, answers: Part, settings: Settings | None = None) -> Part:
    """Return one call; with `settings`, a call that takes pictures."""
    subject = "Features of pictures." if service.task == "features" else "Labels of pictures with scores."
    style = ("2017" if is_v1(path) else "v2") + (", chosen model" if "{model}" in path else "")
    parameters = [openapi_builder.path(name, _PATH_DESCRIPTIONS[name]) for name in re.findall(r"{(\w+)}", path)]
    complaint: Schema = {"oneOf": [ref("SapErrorV1" if is_v1(path) else "SapErrorV2"), ref("SapFault")]}
    return openapi_builder.call(
        re.sub(r"\W+", "_", f"sap {verb} {path}").strip("_"),
        f"{_SUMMARIES[verb][service.task]} ({style})",
        f"{subject} {how}",
        answers | {"default": response("The error; `fault` if the gateway refused the request.", complaint)},
        parameters=parameters,
        body=openapi_builder.body(form=_form(path, settings)) if settings else None,
    )


_SUMMARIES = {
    "infer": {"classify": "Classify and wait", "features": "Extract features and wait"},
    "submit": {"classify": "Submit for classification", "features": "Submit for features"},
    "poll": {"classify": "Poll a classification", "features": "Poll an extraction"},
}
_PATH_DESCRIPTIONS = {"model": "The model.", "version": "Its version.", "job_id": "The id of the job."}


def _form(path: str, settings: Settings) -> Schema:
    files = f"One picture, several, or one flat archive, as {', '.join(sorted(FORMATS))}."
    if is_v1(path) and settings.sap_max_side:
        files += f" Each side must stay under {settings.sap_max_side} pixels."
    options = text("A JSON object, returned with the job; it has no effect.")
    return thing({"files": several(openapi_builder.binary(), files), "options": options}, required=["files"])


def _answer_of(path: str) -> Schema:
    return ref("SapJobV1" if is_v1(path) else "SapJobV2")


def _token_calls() -> Part:
    grant = text(enum=["client_credentials"], default="client_credentials")
    description = "Returns the API key that was sent as client secret, by Basic authentication or in the form."
    answers = {
        "200": response("The token.", ref("SapToken")),
        "default": response("Why there is no token.", ref("SapOAuthError")),
    }
    form = thing({"grant_type": grant, "client_id": text("Anything."), "client_secret": text("The key.")})
    parameter = openapi_builder.query("grant_type", grant)
    return {
        "get": openapi_builder.call("sap_get_token", "Fetch a token", description, answers, parameters=[parameter]),
        "post": openapi_builder.call("sap_post_token", "Fetch a token", description, answers,
                                body=openapi_builder.body(required=False, urlencoded=form)),
    }  # fmt: skip


_PREDICTION = thing(
    {
        "name": text("The file, or the archive's member."),
        "results": several(thing({"label": text(), "score": number()}, required=["label", "score"]), "Best first."),
        "featureVectors": several(number(), "Flat; for feature extraction, in place of `results`."),
        "error": text("Why this picture failed, while others succeeded."),
    },
    required=["name"],
)
_REQUEST = thing(
    {"files": several(text()), "options": thing({}), "tenantName": text(), "texts": several(text())},
    description="The request.",
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
    **{
        f"SapSimilarityV{generation}": thing(
            {
                names[0]: text(),
                "predictions": several(ref("SapSimilarVectors"), "In the order of the vectors."),
                names[1]: text(_TIME),
                "request": _REQUEST,
                "status": text(enum=["DONE"]),
                "tenantName": text(),
            },
            required=[names[0], "predictions", names[1], "request", "status", "tenantName"],
        )
        for generation, names in {1: ("_id", "processed_time"), 2: ("id", "processedTime")}.items()
    },
    "SapSimilarVectors": thing(
        {
            "id": {"type": ["string", "integer"]},
            "similarVectors": several(
                thing({"id": {"type": ["string", "integer"]}, "score": number()}, required=["id", "score"]),
                "The most similar first.",
            ),
        },
        required=["id", "similarVectors"],
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
