"""The IMG Processing wire, `/v1/images`: pictures stored under an id, and their classification.

    POST   /v1/images/upload          multipart `name` and `image`            201 Image
    POST   /v1/images                 JSON `name` and `url`, or `base64`      201 Image
    GET    /v1/images                 `take` of them, beginning `from` an id  200 ImageList
    GET    /v1/images/{id}                                                    200 Image
    GET    /v1/images/{id}/download                                           200 the bytes
    DELETE /v1/images/{id}                                                    204
    POST   /v1/images/{id}/classify   no body, or any                         201 Classification

An image belongs to the tenant and to the stage of the key that uploaded it. `base64` is an extension of this service.
Publishing, transforming, imagining and describing pictures is not served.
"""

from __future__ import annotations

import contextlib
import string
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import urlencode

from flask import Blueprint, Response, g, jsonify, request
from flask.typing import ResponseReturnValue

from api import auth, openapi_builder, reading
from api.context import caller, container, scope, submit_and_wait
from api.openapi_builder import Part, Schema, number, ref, several, text, thing, whole
from shared import errors
from shared.adapters import http_fetch
from shared.container import Container
from shared.domain.jobs import AnswerOptions, ImageReference, Submission
from shared.domain.keys import Caller
from shared.domain.models import ModelState
from shared.domain.pictures import Limits, Picture
from shared.domain.stored_images import StoredImage
from shared.errors import InferqError
from shared.imaging import images
from shared.services import default_models, models, stored_images, usage
from shared.services.default_models import Origin
from shared.settings import Settings

PREFIXES = ("/v1/images",)
FORMATS = frozenset({"JPEG", "PNG", "WEBP"})
MAX_BYTES = 20 * 1024 * 1024
"""Most bytes of one picture."""
MAX_NAME = 30
MAX_TAKE = 100
METER = "img"
PROMISED = "resnet50"
"""The model that the vendor documents; it is ready once `inferq models add resnet50` has fetched its weights."""
LONGEST = 50.0
"""Seconds that a classification waits: after 60 its client gives up without notice, and sends it again."""
FAULT = "Something unexpected happened on our side. Try again, and contact support if it happens again."
ERRORS = "https://docs.img-processing.com/errors/"
"""The prefix of the vendor's error pages: clients distinguish errors by these addresses."""

T = TypeVar("T")


class Invalid(errors.BadRequest):
    """Fields of the request cannot be used."""

    def __init__(self, *complaints: str) -> None:
        """Set the error texts, each of which begins with the name of a field."""
        super().__init__("; ".join(complaints))
        self.complaints = complaints


def blueprints(settings: Settings) -> Sequence[Blueprint]:
    """Return the blueprint with the seven calls."""
    bp = Blueprint("img-processing", __name__)
    one = "/v1/images/<image_id>"
    bp.add_url_rule("/v1/images/upload", view_func=upload, methods=["POST"])
    bp.add_url_rule("/v1/images", view_func=create, methods=["POST"])
    bp.add_url_rule("/v1/images", view_func=listing, methods=["GET"])
    bp.add_url_rule(one, view_func=show, methods=["GET"])
    bp.add_url_rule(one, view_func=delete, methods=["DELETE"])
    bp.add_url_rule(f"{one}/download", view_func=download, methods=["GET"])
    bp.add_url_rule(f"{one}/classify", view_func=classify, methods=["POST"])
    bp.after_request(bill)
    return [bp]


def allowance(settings: Settings, caller: Caller) -> str:
    """Return the rate limit of one tenant, by the stage of its key."""
    return settings.img_test_rate if caller.stage == "test" else settings.img_live_rate


# routes


@scope("infer")
def upload() -> ResponseReturnValue:
    """Store the picture of a multipart body; 201."""
    parts = request.files.getlist("image")
    complaints = _name_complaints(request.form.get("name"))
    if len(parts) != 1:
        complaints.append("image must be a single file" if parts else "image is required")
    if complaints:
        raise Invalid(*complaints)
    limits = _limits(container().settings)
    data = parts[0].stream.read(limits.max_bytes + 1)
    return _keep(_of("image", lambda: images.check(request.form["name"], data, limits)))


@scope("infer")
def create() -> ResponseReturnValue:
    """Store a picture from a URL, or from base64; 201."""
    given = _of("body", lambda: reading.json_object(request, reading.with_pictures(container().settings)))
    complaints = _name_complaints(given.get("name"))
    kinds = [kind for kind in ("url", "base64") if given.get(kind)]
    if len(kinds) != 1:
        complaints.append("url must not be sent together with base64" if kinds else "url is required")
    elif not isinstance(given[kinds[0]], str):
        complaints.append(f"{kinds[0]} must be a string")
    if complaints:
        raise Invalid(*complaints)
    read = _fetched if kinds == ["url"] else _decoded
    return _keep(_of(kinds[0], lambda: read(given["name"], given[kinds[0]], container().settings)))


@scope("infer")
def listing() -> ResponseReturnValue:
    """List the images, newest first, in pages; `from` is the id of the first image of the page."""
    words = {name: value for name, value in request.args.items() if value not in ("undefined", "null")}
    fields = reading.Fields(words)
    take, first = fields.whole("take", 10), fields.text("from")
    if not 1 <= take <= MAX_TAKE:
        raise Invalid(f"take must be 1 to {MAX_TAKE}")
    who = caller()
    page, newer = stored_images.list_page(container(), who.tenant, who.stage, first=first, limit=take)
    if first and (not page or page[0].id != first):
        raise Invalid("from must be the id of an image in the list")
    links = {
        "previous": _link(take, newer[-1]) if newer else None,
        "next": _link(take, page[take]) if len(page) > take else None,
    }
    return jsonify(data=[_image(image) for image in page[:take]], links=links)


@scope("infer")
def show(image_id: str) -> ResponseReturnValue:
    """Return the description of an image."""
    return jsonify(_image(_own(image_id, stored_images.get)))


@scope("infer")
def download(image_id: str) -> ResponseReturnValue:
    """Return the bytes as they were uploaded."""
    image = _own(image_id, stored_images.get)
    try:
        data = container().storage.read(image.blob)
    except FileNotFoundError:  # deleted a moment ago
        raise _unknown(image_id) from None
    response = Response(data, mimetype=f"image/{image.format.lower()}")
    response.headers["Content-Disposition"] = "attachment"  # untrusted bytes are never shown as a page of ours
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


@scope("infer")
def delete(image_id: str) -> ResponseReturnValue:
    """Delete an image and its bytes; 204."""
    _own(image_id, stored_images.delete)
    return "", 204


@scope("infer")
def classify(image_id: str) -> ResponseReturnValue:
    """Return the five likeliest labels; 201. The call has no options, so the body is not read.

    `X-Inferq-Model` names the model that answered and its version, since it may differ from the documented model.
    """
    image = _own(image_id, stored_images.get)
    stored = ImageReference(image.id, image.name, image.blob, image.size)
    asked = Submission([stored], model=_model(), options=AnswerOptions(top_k=5), wire=METER)
    try:
        job, item = _of("image", lambda: submit_and_wait(asked, LONGEST))
    except errors.Conflict:
        _own(image_id, stored_images.get)  # deleted before it ran?
        raise
    main, *others = [(string.capwords(label), score) for label, score in item.result]
    secondary = [{"label": label, "score": score} for label, score in others]
    response = jsonify(main_label=main[0], main_score=main[1], secondary_labels=secondary)
    response.headers["X-Inferq-Model"] = f"{job.model}/{job.version}"
    return response, 201


def bill(response: Response) -> Response:
    """Add the number of 201 answers of this month, this answer included, to responses for the stage `live`."""
    if "caller" in g and caller().stage == "live":
        count = usage.add if response.status_code == 201 else usage.used
        # The request has succeeded: an unavailable counter must not turn its response into an error.
        with contextlib.suppress(errors.Unavailable):
            response.headers["X-Image-Processing-Usage"] = str(count(container(), caller().tenant, METER))
    return response


# parsing


def _model() -> str:
    """Return the vendor's model if it is ready and no other default was chosen; else empty, the default model."""
    if default_models.get(container(), caller().tenant).origin is not Origin.SERVICE:
        return ""
    try:
        found = models.get_version(container(), caller().tenant, PROMISED)
    except errors.NotFound:
        return ""
    return PROMISED if found.state is ModelState.READY else ""


def _limits(settings: Settings) -> Limits:
    whole = reading.limits(settings)
    return replace(whole, formats=FORMATS, max_bytes=min(MAX_BYTES, whole.max_bytes))


def _name_complaints(given: Any) -> list[str]:
    if given is None or (isinstance(given, str) and not given.strip()):
        return ["name is required"]
    if not isinstance(given, str):
        return ["name must be a string"]
    if len(given) > MAX_NAME:
        return [f"name must have 1 to {MAX_NAME} characters"]
    return [] if given.isprintable() else ["name must have characters that can be shown"]


def _decoded(name: str, text: str, settings: Settings) -> Picture:
    return images.check(name, images.from_base64(text), _limits(settings))


def _fetched(name: str, url: str, settings: Settings) -> Picture:
    limits = _limits(settings)
    hosts = settings.img_hosts.replace(",", " ").split()
    data = http_fetch.fetch(
        url,
        max_bytes=limits.max_bytes,
        timeout=settings.fetch_timeout,
        allow_private=settings.fetch_private,
        hosts=hosts,
    )
    return images.check(name, data, limits)


def _of(field: str, read: Callable[[], T]) -> T:
    """Return the result of `read`; its BadRequest becomes an Invalid that names the field."""
    try:
        return read()
    except (errors.NotAPicture, errors.WrongFormat):
        raise Invalid(f"{field} must be a jpeg, png or webp file") from None
    except errors.BadRequest as error:
        raise Invalid(f"{field} cannot be used: {error.message}") from error


def _own(image_id: str, do: Callable[[Container, str, str, str], T]) -> T:
    """Call `do` with an image of the caller; raises NotFound and Forbidden in the words of this wire."""
    try:
        return do(container(), caller().tenant, caller().stage, image_id)
    except errors.NotFound:
        raise _unknown(image_id) from None
    except errors.Forbidden:
        raise errors.Forbidden("You are not allowed to access this image.") from None


def _unknown(image_id: str) -> InferqError:
    return errors.NotFound(f"Image with id {image_id} not found.")


# serializers


def _keep(picture: Picture) -> ResponseReturnValue:
    return jsonify(_image(stored_images.store(container(), caller().tenant, caller().stage, picture))), 201


def _image(image: StoredImage) -> dict[str, Any]:
    """Return an image; sizes are in pixels and bytes, and the URL is null, as no image is published."""
    created = datetime.fromtimestamp(image.created_at, UTC).isoformat(timespec="milliseconds")
    return {
        "id": image.id,
        "name": image.name,
        "url": None,
        "width": image.width,
        "height": image.height,
        "format": image.format.lower(),
        "size": image.size,
        "created_at": created.replace("+00:00", "Z"),
    }


def _link(take: int, first: StoredImage) -> str:
    base = container().settings.public_url or request.root_url
    return f"{base.rstrip('/')}/v1/images?{urlencode({'take': take, 'from': first.id})}"


# errors


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
    if isinstance(error, errors.StillRunning):  # each retry of the client would create another job
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
    if status == 401:
        return "API key is not valid." if any(auth.credentials(request)) else "API key is required."
    if status == 429:
        return "Rate limit exceeded. Try again later."
    if isinstance(error, errors.StillRunning):
        return error.message
    if status >= 500:
        return f"{error.message} {FAULT}" if status == 503 else FAULT
    return error.message


# OpenAPI


def openapi(settings: Settings) -> dict[str, Any]:
    """Return the served part of the vendor's OpenAPI document."""
    images_path: dict[str, Any] = {
        "get": _call("listImages", "List images", "Newest first, in pages.", "200", "ImageList",
                     [openapi_builder.query("take", whole("How many.", minimum=1, maximum=MAX_TAKE, default=10)),
                      openapi_builder.query("from", text("The id of the first image of the page."))]),
        "post": _call("createImage", "Keep a picture from elsewhere", "From a URL, or in base64.", "201", "Image",
                      body=openapi_builder.body(json=_CREATE)),
    }  # fmt: skip
    one = {
        "get": _call("getImage", "Look at an image", "What is known about it.", "200", "Image", _ID),
        "delete": _call("deleteImage", "Delete an image", "A job that still refers to it fails that picture.", "204",
                        parameters=_ID),
    }  # fmt: skip
    calls = {
        "upload": _call("uploadImage", "Keep a picture", "JPEG, PNG or WebP, 20 MB at most.", "201", "Image",
                        body=openapi_builder.body(form=_UPLOAD)),
        "download": _call("downloadImage", "Download an image", "The bytes as they were uploaded.", "200",
                          parameters=_ID),
        "classify": _call("classifyImage", "Classify an image", "The five likeliest labels, by `resnet50` "
                          "where its weights are at hand, else by the default model; `X-Inferq-Model` says which.",
                          "201", "Classification", _ID),
    }  # fmt: skip
    calls["download"]["responses"]["200"]["content"] = {"image/*": {}}
    return {
        "tags": [{"name": "IMG Processing", "description": "Keep pictures under an id, and ask what is in them. Each "
                  "belongs to the stage, `live` or `test`, of the key that brought it."}],
        "paths": {
            "/v1/images/upload": {"post": calls["upload"]},
            "/v1/images": images_path,
            "/v1/images/{image_id}": one,
            "/v1/images/{image_id}/download": {"get": calls["download"]},
            "/v1/images/{image_id}/classify": {"post": calls["classify"]},
        },
        "components": {"schemas": _SCHEMAS},
    }  # fmt: skip


def _call(name: str, summary: str, about: str, status: str, schema: str = "",
          parameters: Sequence[Part] = (), body: Part | None = None) -> Part:  # fmt: skip
    """Return one call; 422 is the only error with a schema of its own."""
    good = openapi_builder.response(f"The {schema}.", ref(schema)) if schema else openapi_builder.empty(summary)
    responses = {
        status: good,
        "422": openapi_builder.response("What is wrong with which field.", ref("ValidationError")),
        "default": openapi_builder.response("What is wrong.", ref("Error")),
    }
    return openapi_builder.call(name, summary, about, responses, parameters=parameters, body=body)


def _object(properties: dict[str, Schema], optional: Sequence[str] = ()) -> Schema:
    """Return the schema of an object in which, as in the vendor's schemas, all but `optional` is required."""
    return thing(properties, required=[name for name in properties if name not in optional])


_ID = [openapi_builder.path("image_id", "The image.")]
_NAME = text(minLength=1, maxLength=MAX_NAME)
_UPLOAD = _object({"name": _NAME, "image": openapi_builder.binary()})
_CREATE = _object(
    {
        "name": _NAME,
        "url": text("A public address of the picture.", format="uri"),
        "base64": text("The picture itself, in place of `url`. An extension of ours."),
    },
    optional=("url", "base64"),
)
_SCORE = number(minimum=0, maximum=1)
_LINK = {"type": ["string", "null"], "format": "uri"}
_PROBLEM = {"type": text(format="uri"), "error": text(), "status": whole()}
_SCHEMAS = {
    "Image": _object(
        {
            "id": text(pattern="^image_[a-z0-9]{24}$"),
            "name": _NAME,
            "url": {"type": ["string", "null"], "format": "uri", "description": "Null until published."},
            "width": whole("Pixels."),
            "height": whole("Pixels."),
            "format": text(enum=["jpeg", "png", "webp"]),
            "size": whole("Bytes."),
            "created_at": text(format="date-time"),
        },
        optional=("url",),
    ),
    "ImageList": _object(
        {
            "data": several(ref("Image")),
            "links": _object({"previous": _LINK, "next": _LINK}),
        }
    ),
    "Classification": _object(
        {
            "main_label": text(),
            "main_score": _SCORE,
            "secondary_labels": several(_object({"label": text(), "score": _SCORE})),
        }
    ),
    "Error": _object(_PROBLEM | {"message": text()}),
    "ValidationError": _object(_PROBLEM | {"errors": several(text())}),
}
