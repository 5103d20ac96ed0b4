"""`/v1/images`: keep pictures under an id, to classify them later or more than once."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, request
from flask.typing import ResponseReturnValue

from api.context import caller, scope, tools
from api.dialects.native import submission, views
from api.reading import Fields
from shared import errors, gallery

bp = Blueprint("native-images", __name__)


@bp.post("/v1/images")
@scope("infer")
def upload() -> ResponseReturnValue:
    """Keep one picture, or several; 201 with the image, or with `images` when there are several."""
    kept = [views.image(image) for image in gallery.store(tools(), caller().tenant, submission.one_picture(request))]
    if not kept:
        raise errors.NoInput()
    response = jsonify(kept[0] if len(kept) == 1 else {"images": kept})
    response.headers["Location"] = f"/v1/images/{kept[0]['id']}"
    return response, 201


@bp.get("/v1/images")
@scope("infer")
def listing() -> ResponseReturnValue:
    """Newest first, in pages; `cursor` is the `next` of the page before."""
    fields = Fields(request.args)
    limit = fields.whole("limit", 50)
    if not 1 <= limit <= 500:
        raise errors.BadOption("limit must be 1 to 500")
    with tools().records.read() as r:
        page = r.images.page(caller().tenant, before=fields.text("cursor"), limit=limit + 1)
    shown = page[:limit]
    return jsonify(images=[views.image(image) for image in shown], next=shown[-1].id if len(page) > limit else None)


@bp.get("/v1/images/<image_id>")
@scope("infer")
def show(image_id: str) -> ResponseReturnValue:
    """What is known of an image."""
    return jsonify(views.image(gallery.get(tools(), caller().tenant, image_id)))


@bp.get("/v1/images/<image_id>/download")
@scope("infer")
def download(image_id: str) -> ResponseReturnValue:
    """The bytes as they were uploaded."""
    image = gallery.get(tools(), caller().tenant, image_id)
    response = Response(tools().storage.read(image.blob), mimetype=f"image/{image.format.lower()}")
    response.headers["Content-Disposition"] = "attachment"  # a stranger's picture is never shown as a page of ours
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


@bp.delete("/v1/images/<image_id>")
@scope("infer")
def delete(image_id: str) -> ResponseReturnValue:
    """Forget an image and its bytes; 204."""
    gallery.delete(tools(), caller().tenant, image_id)
    return "", 204
