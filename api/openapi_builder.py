"""The builder functions make the small parts of an OpenAPI document, from which every wire builds its `openapi`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

Schema = dict[str, Any]
Part = dict[str, Any]

# schemas


def text(description: str = "", **more: Any) -> Schema:
    """Return the schema of a text."""
    return _kind("string", description, more)


def whole(description: str = "", **more: Any) -> Schema:
    """Return the schema of a whole number."""
    return _kind("integer", description, more)


def number(description: str = "", **more: Any) -> Schema:
    """Return the schema of a number."""
    return _kind("number", description, more)


def flag(description: str = "", **more: Any) -> Schema:
    """Return the schema of a boolean."""
    return _kind("boolean", description, more)


def several(items: Schema, description: str = "", **more: Any) -> Schema:
    """Return the schema of a list of `items`."""
    return _kind("array", description, {"items": items, **more})


def thing(properties: dict[str, Schema], *, required: Sequence[str] = (), **more: Any) -> Schema:
    """Return the schema of an object; a request must have its `required` properties, and an answer always has them."""
    return {"type": "object", "properties": properties, **({"required": list(required)} if required else {}), **more}


def binary(description: str = "", example: str = "photo.jpg") -> Schema:
    """Return the schema of the bytes of a file; the page /docs shows a file chooser for it, and names the example in
    commands."""
    return text(description, format="binary", contentMediaType="application/octet-stream", examples=[example])


def ref(name: str) -> Schema:
    """Return a reference to a schema of the document. All wires share the list, so each prefixes its schemas."""
    return {"$ref": f"#/components/schemas/{name}"}


def _kind(kind: str, description: str, more: dict[str, Any]) -> Schema:
    return {"type": kind, **({"description": description} if description else {}), **more}


# parameters and bodies


def openapi_path(rule: str) -> str:
    """Return Flask's rule of a path in OpenAPI's notation: `/v1/jobs/<job_id>` -> `/v1/jobs/{job_id}`."""
    return re.sub(r"<(?:[^<>:]+:)?([^<>]+)>", r"{\1}", rule)


def path(name: str, description: str) -> Part:
    """Return a path parameter, such as `{job_id}`."""
    return {"name": name, "in": "path", "required": True, "description": description, "schema": text()}


def query(name: str, schema: Schema) -> Part:
    """Return a query parameter."""
    return {"name": name, "in": "query", "schema": schema}


def header(name: str, description: str) -> Part:
    """Return a request header."""
    return {"name": name, "in": "header", "description": description, "schema": text()}


def body(*, required: bool = True, example: Any = None, **kinds: Schema) -> Part:
    """Return a request body in one or several forms: `form`, `urlencoded`, `json` and `raw`, each with its schema.

    The page /docs fills its JSON field with `example`.
    """
    content: Part = {_MEDIA_TYPES[kind]: {"schema": schema} for kind, schema in kinds.items()}
    if example is not None:
        content["application/json"]["example"] = example
    return {"required": required, "content": content}


_MEDIA_TYPES = {
    "form": "multipart/form-data",
    "urlencoded": "application/x-www-form-urlencoded",
    "json": "application/json",
    "raw": "application/octet-stream",
}


# responses


def response(description: str, schema: Schema, media_type: str = "application/json", **more: Any) -> Part:
    """Return a response with a body; `more` holds further keys, such as `headers`."""
    return {"description": description, "content": {media_type: {"schema": schema}}, **more}


def empty(description: str) -> Part:
    """Return a response without a body."""
    return {"description": description}


# calls


def call(name: str, summary: str, description: str, responses: dict[str, Part], *,
         parameters: Sequence[Part] = (), body: Part | None = None, tag: str = "") -> Part:  # fmt: skip
    """Return one call. `name` is its operationId, unique in the document; without a tag it gets its wire's first."""
    return {
        **({"tags": [tag]} if tag else {}),
        "operationId": name,
        "summary": summary,
        "description": description,
        "parameters": list(parameters),
        **({"requestBody": body} if body else {}),
        "responses": responses,
    }
