"""Describing calls: the small parts of an OpenAPI document, which every wire's `openapi` is put together from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Schema = dict[str, Any]
Part = dict[str, Any]

# schemas


def text(description: str = "", **more: Any) -> Schema:
    """A text."""
    return _kind("string", description, more)


def whole(description: str = "", **more: Any) -> Schema:
    """A whole number."""
    return _kind("integer", description, more)


def number(description: str = "", **more: Any) -> Schema:
    """A number."""
    return _kind("number", description, more)


def flag(description: str = "", **more: Any) -> Schema:
    """True or false."""
    return _kind("boolean", description, more)


def several(items: Schema, description: str = "", **more: Any) -> Schema:
    """A list of `items`."""
    return _kind("array", description, {"items": items, **more})


def thing(properties: dict[str, Schema], *, required: Sequence[str] = (), **more: Any) -> Schema:
    """An object; `required` are the properties that a request must bring, or that an answer always has."""
    return {"type": "object", "properties": properties, **({"required": list(required)} if required else {}), **more}


def binary(description: str = "") -> Schema:
    """The bytes of a file; the page of the calls makes a file chooser of it."""
    return text(description, format="binary", contentMediaType="application/octet-stream")


def ref(name: str) -> Schema:
    """Points to one of the document's schemas. They share one list, so a wire puts its own name before its names."""
    return {"$ref": f"#/components/schemas/{name}"}


def _kind(kind: str, description: str, more: dict[str, Any]) -> Schema:
    return {"type": kind, **({"description": description} if description else {}), **more}


# what goes in


def path(name: str, description: str) -> Part:
    """A part of the path, such as `{job_id}`."""
    return {"name": name, "in": "path", "required": True, "description": description, "schema": text()}


def query(name: str, schema: Schema) -> Part:
    """A query parameter."""
    return {"name": name, "in": "query", "schema": schema}


def header(name: str, description: str) -> Part:
    """A request header."""
    return {"name": name, "in": "header", "description": description, "schema": text()}


def body(*, required: bool = True, example: Any = None, **kinds: Schema) -> Part:
    """A request body in one or several forms: `form`, `urlencoded`, `json` and `raw`, each with its schema.

    The page of the calls begins its JSON with `example`.
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


# what comes out


def response(description: str, schema: Schema, media_type: str = "application/json", **more: Any) -> Part:
    """A response with a body; `more` is its `headers`, for one."""
    return {"description": description, "content": {media_type: {"schema": schema}}, **more}


def empty(description: str) -> Part:
    """A response without a body."""
    return {"description": description}


# the call


def call(name: str, summary: str, description: str, responses: dict[str, Part], *,
         parameters: Sequence[Part] = (), body: Part | None = None, tag: str = "") -> Part:  # fmt: skip
    """One call. `name` is its operationId, unique in the whole document; without a tag it gets its wire's first."""
    return {
        **({"tags": [tag]} if tag else {}),
        "operationId": name,
        "summary": summary,
        "description": description,
        "parameters": list(parameters),
        **({"requestBody": body} if body else {}),
        "responses": responses,
    }
