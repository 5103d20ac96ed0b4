"""The routes: store, list, show, download, delete and classify images, and the count of this month's answers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TypeVar

from flask import Response, current_app, g, jsonify, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import MethodNotAllowed

from api import reading
from api.context import caller, container, scope, submit_and_wait
from api.dialects.img_processing import requests, serializers
from api.dialects.img_processing.errors import Invalid
from shared import errors
from shared.container import Container
from shared.domain.jobs import AnswerOptions, ImageReference, Submission
from shared.domain.models import ModelState
from shared.domain.pictures import Picture
from shared.domain.rejection import answer_without_doubt
from shared.errors import InferqError
from shared.imaging import images
from shared.services import absences, default_models, models, stored_images, usage
from shared.services.default_models import Origin

T = TypeVar("T")
METER = "img"
UPLOAD = "/v1/images/upload"
PROMISED = "resnet50"
"""The model that the vendor documents; it is ready once `inferq models add resnet50` has fetched its weights."""
LONGEST = 50.0
"""Seconds that a classification waits: after 60 its client gives up without notice, and sends it again."""


@scope("infer")
def upload() -> ResponseReturnValue:
    """Store the picture of a multipart body; 201."""
    parts = request.files.getlist("image")
    complaints = requests.name_complaints(request.form.get("name"))
    if len(parts) != 1:
        complaints.append("image must be a single file" if parts else "image is required")
    if complaints:
        raise Invalid(*complaints)
    limits = requests.limits(container().settings)
    data = parts[0].stream.read(limits.max_bytes + 1)
    with requests.naming_field("image"):
        picture = images.check(request.form["name"], data, limits)
    return _store(picture)


@scope("infer")
def create() -> ResponseReturnValue:
    """Store a picture from a URL, or from base64; 201."""
    with requests.naming_field("body"):
        fields = reading.json_object(request, reading.with_pictures(container().settings))
    complaints = requests.name_complaints(fields.get("name"))
    kinds = [kind for kind in ("url", "base64") if fields.get(kind)]
    if len(kinds) != 1:
        complaints.append("url must not be sent together with base64" if kinds else "url is required")
    elif not isinstance(fields[kinds[0]], str):
        complaints.append(f"{kinds[0]} must be a string")
    if complaints:
        raise Invalid(*complaints)
    read = requests.from_url if kinds == ["url"] else requests.from_base64
    with requests.naming_field(kinds[0]):
        picture = read(fields["name"], fields[kinds[0]], container().settings)
    return _store(picture)


@scope("infer")
def listing() -> ResponseReturnValue:
    """List the images, newest first, in pages; `from` is the id of the first image of the page."""
    query = {name: value for name, value in request.args.items() if value not in ("undefined", "null")}
    fields = reading.Fields(query)
    take, first = fields.whole("take", 10), fields.text("from")
    if not 1 <= take <= requests.MAX_TAKE:
        raise Invalid(f"take must be 1 to {requests.MAX_TAKE}")
    tenant, stage = caller().tenant, caller().stage
    page, newer = stored_images.list_page(container(), tenant, stage, first=first, limit=take)
    if first and (not page or page[0].id != first):
        raise Invalid("from must be the id of an image in the list")
    links = {
        "previous": serializers.link(take, newer[-1]) if newer else None,
        "next": serializers.link(take, page[take]) if len(page) > take else None,
    }
    return jsonify(data=[serializers.image(image) for image in page[:take]], links=links)


@scope("infer")
def show(image_id: str) -> ResponseReturnValue:
    """Return the description of an image."""
    return jsonify(serializers.image(_own(image_id, stored_images.get)))


@scope("infer")
def download(image_id: str) -> ResponseReturnValue:
    """Return the bytes as they were uploaded."""
    image = _own(image_id, stored_images.get)
    data = absences.read(container(), image.blob, f"the image {image_id}", lambda: _own(image_id, stored_images.get))
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
async def classify(image_id: str) -> ResponseReturnValue:
    """Return the five likeliest labels; 201. The call has no options, so the body is not read.

    `X-Inferq-Model` names the model that answered and its version, since it may differ from the documented model.
    """
    image = _own(image_id, stored_images.get)
    stored = ImageReference(image.id, image.name, image.blob, image.size)
    submission = Submission([stored], model=_model(), options=AnswerOptions(top_k=5), wire=METER)
    try:
        with requests.naming_field("image"):
            job, item = await submit_and_wait(submission, LONGEST)
    except errors.Conflict:
        _own(image_id, stored_images.get)  # deleted before it ran?
        raise
    response = jsonify(serializers.classification(answer_without_doubt(item.result, item.verdict)))
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


def _store(picture: Picture) -> ResponseReturnValue:
    return jsonify(serializers.image(stored_images.store(container(), caller().tenant, caller().stage, picture))), 201


def _own(image_id: str, do: Callable[[Container, str, str, str], T]) -> T:
    """Call `do` with an image of the caller; raises NotFound and Forbidden in the words of this wire."""
    try:
        return do(container(), caller().tenant, caller().stage, image_id)
    except errors.NotFound:
        if _only_takes_post():
            raise MethodNotAllowed(["POST", "OPTIONS"]) from None
        raise _unknown(image_id) from None
    except errors.Forbidden:
        raise errors.Forbidden("You are not allowed to access this image.") from None


def _only_takes_post() -> bool:
    """Return True if the path looks like that of an image and is one to which pictures are sent, as `UPLOAD` is."""
    adapter = current_app.create_url_adapter(request)
    return request.method != "POST" and adapter is not None and "POST" in adapter.allowed_methods(request.path)


def _unknown(image_id: str) -> InferqError:
    return errors.NotFound(f"Image with id {image_id} not found.")


def _model() -> str:
    """Return the vendor's model if it is ready and no other default was chosen; else empty, the default model."""
    if default_models.get(container(), caller().tenant).origin is not Origin.SERVICE:
        return ""
    try:
        version = models.get_version(container(), caller().tenant, PROMISED)
    except errors.NotFound:
        return ""
    return PROMISED if version.state is ModelState.READY else ""
