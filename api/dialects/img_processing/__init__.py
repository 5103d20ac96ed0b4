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

from collections.abc import Sequence

from flask import Blueprint

from api.dialects.img_processing import routes
from api.dialects.img_processing.errors import write_error
from api.dialects.img_processing.openapi_document import openapi
from shared.domain.keys import Caller
from shared.settings import Settings

PREFIXES = ("/v1/images",)


def blueprints(settings: Settings) -> Sequence[Blueprint]:
    """Return the blueprint with the seven calls."""
    bp = Blueprint("img-processing", __name__)
    image = "/v1/images/<image_id>"
    bp.add_url_rule(routes.UPLOAD, view_func=routes.upload, methods=["POST"])
    bp.add_url_rule("/v1/images", view_func=routes.create, methods=["POST"])
    bp.add_url_rule("/v1/images", view_func=routes.listing, methods=["GET"])
    bp.add_url_rule(image, view_func=routes.show, methods=["GET"])
    bp.add_url_rule(image, view_func=routes.delete, methods=["DELETE"])
    bp.add_url_rule(f"{image}/download", view_func=routes.download, methods=["GET"])
    bp.add_url_rule(f"{image}/classify", view_func=routes.classify, methods=["POST"])
    bp.after_request(routes.bill)
    return [bp]


def allowance(settings: Settings, caller: Caller) -> str:
    """Return the rate limit of one tenant, by the stage of its key."""
    return settings.img_test_rate if caller.stage == "test" else settings.img_live_rate


__all__ = ["PREFIXES", "allowance", "blueprints", "openapi", "write_error"]
