"""This wire's part of the OpenAPI document: its tag, its calls and their schemas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from api import openapi_builder
from api.dialects.img_processing.requests import MAX_NAME, MAX_TAKE
from api.openapi_builder import Part, Schema, number, ref, several, text, thing, whole
from shared.settings import Settings


def openapi(settings: Settings) -> dict[str, Any]:
    """Return the served part of the vendor's OpenAPI document."""
    images_calls: dict[str, Any] = {
        "get": _call("listImages", "List images", "Newest first, in pages.", "200", "ImageList",
                     [openapi_builder.query("take", whole("Page size.", minimum=1, maximum=MAX_TAKE, default=10)),
                      openapi_builder.query("from", text("The id of the first image of the page."))]),
        "post": _call("createImage", "Store a picture by URL or base64", "The URL is fetched at once.", "201", "Image",
                      body=openapi_builder.body(json=_CREATE)),
    }  # fmt: skip
    image_calls = {
        "get": _call("getImage", "Get an image", "Its name, size and format.", "200", "Image", _ID),
        "delete": _call("deleteImage", "Delete an image", "A job that has not run it yet fails for it.", "204",
                        parameters=_ID),
    }  # fmt: skip
    calls = {
        "upload": _call("uploadImage", "Store a picture", "JPEG, PNG or WebP, 20 MB at most.", "201", "Image",
                        body=openapi_builder.body(form=_UPLOAD)),
        "download": _call("downloadImage", "Download an image", "The bytes as they were uploaded.", "200",
                          parameters=_ID),
        "classify": _call("classifyImage", "Classify an image", "The five likeliest labels, by `resnet50` "
                          "if it is ready, else by the default model; `X-Inferq-Model` names the model.",
                          "201", "Classification", _ID),
    }  # fmt: skip
    calls["download"]["responses"]["200"]["content"] = {"image/*": {}}
    return {
        "tags": [{"name": "IMG Processing", "description": "Store pictures under an id, and classify them. Each "
                  "belongs to the stage, `live` or `test`, of the key that uploaded it."}],
        "paths": {
            "/v1/images/upload": {"post": calls["upload"]},
            "/v1/images": images_calls,
            "/v1/images/{image_id}": image_calls,
            "/v1/images/{image_id}/download": {"get": calls["download"]},
            "/v1/images/{image_id}/classify": {"post": calls["classify"]},
        },
        "components": {"schemas": _SCHEMAS},
    }  # fmt: skip


def _call(name: str, summary: str, about: str, status: str, schema: str = "",
          parameters: Sequence[Part] = (), body: Part | None = None) -> Part:  # fmt: skip
    """Return one call; 422 is the only error with a schema of its own."""
    success = openapi_builder.response(f"The {schema}.", ref(schema)) if schema else openapi_builder.empty(summary)
    responses = {
        status: success,
        "422": openapi_builder.response("The invalid fields and the reasons.", ref("ValidationError")),
        "default": openapi_builder.response("The error.", ref("Error")),
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
        "url": text("A public URL of the picture.", format="uri"),
        "base64": text("The picture itself in base64, instead of `url`; an extension of inferq."),
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
