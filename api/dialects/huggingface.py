"""The wire of the Hugging Face Inference API for image classification, and the call that its clients make to the hub.

    POST /models/{id}        the body is a picture, or JSON with one in base64: `[{"label": …, "score": …}, …]`
    GET  /models/{id}        `{"ok": "ok"}`
    GET  /api/models/{id}    the kind of the model, for clients that have an id and no URL

The first two calls also exist below `/hf-inference`. An id is the name of a model, or an alias such as
`google/vit-base-patch16-224`. This wire has no polling: the answer is the labels, or an error `{"error": TEXT}`.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from flask import Blueprint, Response, g, jsonify, request
from flask.typing import ResponseReturnValue

from api import auth, openapi_builder, reading
from api.context import caller, container, scope, submit_and_wait, wait_limiter
from api.openapi_builder import flag, number, several, text, thing, whole
from api.reading import Fields
from shared import errors
from shared.container import Container
from shared.domain.jobs import FUNCTIONS, AnswerOptions, Submission
from shared.domain.keys import Caller
from shared.domain.models import ALL_TENANTS, ModelVersion
from shared.domain.pictures import ALL_FORMATS
from shared.errors import InferqError
from shared.imaging import images
from shared.services import models, result_cache
from shared.settings import Settings

PREFIXES = ("/models", "/hf-inference", "/api/models")
MODELS = ("/models", "/hf-inference/models")
"""The path prefixes of models: of the vendor's old host, and of its newer host."""
IDS = ("<name>", "<owner>/<name>")
TASK = "image-classification"
PROVIDER = "hf-inference"
PATIENCE = 1.0
"""Seconds that a request is held before its 503: one of the clients retries at once, and without end."""
BODY = (
    f"the body must be a picture ({', '.join(sorted(ALL_FORMATS))}), or JSON that holds one in base64 as "
    "`inputs`; it is read neither as multipart nor as a URL"
)
WORTH_PACKING = 1000
"""Bytes from which an answer is compressed for clients that accept gzip."""


def blueprints(settings: Settings) -> Sequence[Blueprint]:
    """Return the blueprint of the models and of their descriptions on the hub."""
    bp = Blueprint("huggingface", __name__)
    for model_id in IDS:
        for models_path in MODELS:
            bp.add_url_rule(f"{models_path}/{model_id}", "infer", infer, methods=["POST"])
            bp.add_url_rule(f"{models_path}/{model_id}", "alive", alive, methods=["GET"])
        bp.add_url_rule(f"/api/models/{model_id}", "about", about, methods=["GET"])
    return [bp]


def allowance(settings: Settings, caller: Caller) -> str:
    """Return the rate limit of one tenant on this wire."""
    return settings.huggingface_rate


# routes


@scope("infer")
def infer(name: str, owner: str = "") -> ResponseReturnValue:
    """Classify one picture and wait for the answer."""
    g.began = time.perf_counter()
    asked = read()
    version = _servable(_id(name, owner), asked.flag("wait_for_model", False))
    picture = images.check("image", asked.picture, reading.limits(container().settings))
    g.computing = True  # from here on an error response reports the compute time too
    use_cache = asked.flag("use_cache", True)
    options = _options(asked.parameters, version)
    if (
        use_cache
        and (known := result_cache.recall(container(), caller().tenant, version, options, picture.data)) is not None
    ):
        return _write_labels(known, "cache")
    asked_for = Submission([picture], version.name, version.version, options, wire="huggingface", remember=use_cache)
    _, item = submit_and_wait(asked_for)
    return _write_labels(item.result, _device())


@scope("infer")
def alive(name: str, owner: str = "") -> ResponseReturnValue:
    """Answer 200 if the model exists, ready or not; raises NotFound."""
    models.get_version(container(), caller().tenant, _id(name, owner))
    return _write({"ok": "ok"})


@scope("infer")
def about(name: str, owner: str = "") -> ResponseReturnValue:
    """Return the task of a model and the provider that serves it, for a client that has only an id."""
    model_id = _id(name, owner)
    version = models.get_version(container(), caller().tenant, model_id)
    served = {"status": "live", "providerId": model_id, "task": TASK}
    return _write(
        {
            "id": model_id,
            "modelId": model_id,
            "pipeline_tag": TASK,
            "tags": [TASK],
            "private": version.tenant != ALL_TENANTS,
            "inferenceProviderMapping": {PROVIDER: served},
        }
    )


def _id(name: str, owner: str = "") -> str:
    return f"{owner}/{name}" if owner else name


def _servable(model_id: str, wait: bool) -> ModelVersion:
    """Return the ready model, after at most PATIENCE seconds, or `max_wait` with `wait`; raises ModelNotReady."""
    try:
        return models.get_ready_version(container(), caller().tenant, model_id)
    except errors.ModelNotReady:
        with _seat() as taken:
            if not taken:
                raise
            patience = container().settings.max_wait if wait else PATIENCE
            return models.get_ready_version(container(), caller().tenant, model_id, patience=patience)


@contextmanager
def _seat() -> Iterator[bool]:
    """Take a waiting place for the block; yield False when all places are taken."""
    taken = wait_limiter().acquire()
    try:
        yield taken
    finally:
        if taken:
            wait_limiter().release()


# parsing


@dataclass(frozen=True)
class ParsedRequest:
    """The picture, the parameters and the options of one request body."""

    picture: bytes
    """Bytes that are not checked yet."""
    parameters: Any = None
    options: Any = None

    def flag(self, name: str, default: bool) -> bool:
        """Return a boolean option, from the header `x-…` or from the body; raises BadOption."""
        header = {name: request.headers.get(f"x-{name.replace('_', '-')}")}
        return Fields(header, _object("options", self.options)).flag(name, default)


def read() -> ParsedRequest:
    """Parse the body, whatever its Content-Type: JSON that holds a picture, else the picture itself.

    Raises TooLarge. Whether the bytes are a picture is not checked yet.
    """
    settings = container().settings
    limit = reading.with_pictures(settings)
    upload = reading.body(request)
    body = upload.stream.read(limit + 1) if upload else b""
    try:
        asked = _from_json(body) if len(body) <= limit else ParsedRequest(body)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        asked = ParsedRequest(body)
    if len(asked.picture) > settings.max_picture:
        raise errors.TooLarge(f"The picture has more than the allowed {settings.max_picture} bytes. Make it smaller.")
    return asked


def _from_json(body: bytes) -> ParsedRequest:
    """Parse JSON that holds a picture; raises ValueError, KeyError, TypeError and others for any other body."""
    if not body[:100].lstrip().startswith(b"{") or sum(map(body.count, (b",", b"[", b"{"))) > reading.MAX_VALUES:
        raise ValueError
    found = json.loads(body)
    coded = found.get("image") or found["inputs"]
    try:
        picture = images.from_base64(coded)
    except errors.BadBase64:
        picture = base64.b64decode(coded.encode())  # as the vendor does: characters outside base64 are skipped
    return ParsedRequest(picture, found.get("parameters"), found.get("options"))


def _object(name: str, value: Any) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise errors.BadOption(f"{name} must be an object")
    return value


def _options(parameters: Any, version: ModelVersion) -> AnswerOptions:
    """Return the answer options; raises BadOption for a parameter that this task lacks, and for an invalid value."""
    given = _object("parameters", parameters)
    if unknown := set(given) - {"top_k", "function_to_apply"}:
        raise errors.BadOption(f"unknown parameter {min(unknown)!r}; there are top_k and function_to_apply")
    fields = Fields(given)
    usual = "sigmoid" if len(version.labels) == 1 else "softmax"
    function = fields.text("function_to_apply", usual).lower()
    if function not in FUNCTIONS:
        raise errors.BadOption(f"function_to_apply must be one of {', '.join(FUNCTIONS)}, not {function!r}")
    top_k = min(fields.whole("top_k", 5), max(1, len(version.labels)))
    return AnswerOptions(top_k=top_k, function_to_apply=function)


# serializers


def _write_labels(result: Sequence[Sequence[Any]], computed_by: str) -> Response:
    response = _computed(_write([{"label": label, "score": score} for label, score in result]), computed_by)
    response.headers["x-compute-images"] = "1"
    return response


def _write(body: Any, status: int = 200) -> Response:
    """Return JSON, compressed if long and accepted, with a request id that clients put into their error messages."""
    response = jsonify(body)
    response.status_code = status
    response.headers["x-request-id"] = request.headers.get("X-Amzn-Trace-Id", "")[:100] or str(uuid.uuid4())
    data = response.get_data()
    if len(data) >= WORTH_PACKING:
        response.headers["Vary"] = "Accept-Encoding"
        if request.accept_encodings["gzip"]:
            response.set_data(gzip.compress(data, mtime=0))
            response.headers["Content-Encoding"] = "gzip"
    return response


def _computed(response: Response, by: str) -> Response:
    response.headers["x-compute-type"] = by
    response.headers["x-compute-time"] = f"{time.perf_counter() - g.began:.3f}"
    response.headers["access-control-expose-headers"] = "x-compute-type, x-compute-time"
    return response


def _device() -> str:
    """Return `gpu` if any worker has one, else `cpu`; the worker of a job is unknown. Redis is asked every 10 s."""
    return _looked_up(container(), int(time.monotonic() / 10))


@lru_cache(maxsize=4)
def _looked_up(container: Container, ten_seconds: int) -> str:
    with contextlib.suppress(errors.Unavailable):
        if any(not worker["device"].startswith("cpu") for worker in container.queue.workers.list()):
            return "gpu"
    return "cpu"


# errors


def write_error(error: InferqError) -> ResponseReturnValue:
    """Return `{"error": TEXT}`; it is always a text, as one of the clients does not show a list."""
    status = _status(error)
    body: dict[str, Any] = {"error": _words(error)}
    if isinstance(error, errors.ModelNotReady):
        body["estimated_time"] = float(error.retry_after or PATIENCE)
    elif status == 503:
        _hold()
    response = _write(body, status)
    if status in (400, 500) and "computing" in g:
        _computed(response, _device())
    if status == 401:
        response.headers["X-Error-Message"] = body["error"]
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _status(error: InferqError) -> int:
    if isinstance(error, errors.ModelNotReady):
        return 503
    if isinstance(error, errors.ModelRefused):
        return 500
    if isinstance(error, errors.StillRunning):
        return 504  # not 503: a client would resend the picture at once, and make the queue longer
    return error.status


def _words(error: InferqError) -> str:
    """Return the vendor's message where clients know one; else the message of the error."""
    model_id = _id(**request.view_args) if request.view_args else ""
    if isinstance(error, errors.Unauthorized):
        bad = any(auth.credentials(request))
        return "Invalid credentials in Authorization header" if bad else error.message
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
    with _seat() as taken:
        if taken:
            time.sleep(PATIENCE)


# OpenAPI


def openapi(settings: Settings) -> openapi_builder.Part:
    """Return the tags, paths and components of this wire."""
    about = "The Hugging Face Inference API for image classification. An id is the name of a model, or an alias."
    paths: dict[str, Any] = {}
    for model_id in IDS:
        parts = [openapi_builder.path(part.strip("<>"), "Of the model.") for part in model_id.split("/")]
        braced = model_id.replace("<", "{").replace(">", "}")
        kind = "Alias" if len(parts) > 1 else "Model"
        for host, models_path in zip(("", "New"), MODELS, strict=True):
            paths[f"{models_path}/{braced}"] = _model_calls(f"{host}{kind}", parts)
        call = _call(f"About{kind}", "What kind of model it is", "For clients that have an id and no URL.", parts)
        paths[f"/api/models/{braced}"] = {"get": call}
    return {
        "tags": [{"name": "Hugging Face", "description": about}],
        "paths": paths,
        "components": {"schemas": _SCHEMAS},
    }


def _model_calls(which: str, parts: list[openapi_builder.Part]) -> openapi_builder.Part:
    switches = [
        openapi_builder.header("x-use-cache", "`false`: run the model, even if the answer is known."),
        openapi_builder.header("x-wait-for-model", "`true`: wait for a model that is loading."),
    ]
    classify = _call(
        f"Classify{which}", "Classify a picture", "The Content-Type is not looked at.", [*parts, *switches],
        schema=openapi_builder.ref("HuggingFaceLabels"),
        body=openapi_builder.body(raw=openapi_builder.binary(), json=openapi_builder.ref("HuggingFaceInputs")),
    )  # fmt: skip
    return {"post": classify, "get": _call(f"Alive{which}", "Is there such a model?", "It need not be ready.", parts)}


def _call(
    name: str,
    summary: str,
    description: str,
    parameters: list[openapi_builder.Part],
    *,
    schema: openapi_builder.Schema | None = None,
    body: openapi_builder.Part | None = None,
) -> openapi_builder.Part:
    responses = {
        "200": openapi_builder.response("The answer.", schema or thing({})),
        "default": openapi_builder.response("What is wrong.", openapi_builder.ref("HuggingFaceError")),
    }
    return openapi_builder.call(f"huggingFace{name}", summary, description, responses, parameters=parameters, body=body)


_PARAMETERS = thing(
    {
        "top_k": whole("Labels.", default=5, minimum=1),
        "function_to_apply": text("How logits become scores; without, softmax, or sigmoid for a single label.",
                                  enum=list(FUNCTIONS)),
    },
    additionalProperties=False,
)  # fmt: skip
_SCHEMAS = {
    "HuggingFaceLabels": several(
        thing({"label": text(), "score": number()}, required=("label", "score")), "Best first."
    ),
    "HuggingFaceInputs": thing(
        {
            "inputs": text("The picture in base64."),
            "parameters": _PARAMETERS,
            "options": thing({"use_cache": flag(default=True), "wait_for_model": flag(default=False)}),
        },
        required=("inputs",),
    ),
    "HuggingFaceError": thing(
        {"error": text(), "estimated_time": number("Seconds until the model should be loaded; with 503.")},
        required=("error",),
    ),
}
