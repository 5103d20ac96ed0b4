"""Parts of the native wire's OpenAPI document that many calls share."""

from __future__ import annotations

from collections.abc import Sequence

from api import openapi_builder
from api.openapi_builder import Part, Schema, header, query, ref, several, text, thing, whole

PROBLEM: Part = {
    "description": "What is wrong, and what to do.",
    "content": {"application/problem+json": {"schema": ref("Problem")}},
}
GONE: Part = {"204": {"description": "It is gone."}, "default": PROBLEM}
WAIT = header("Prefer", "`wait=N` waits up to N seconds for the end; `respond-async` does not wait.")
PAGING = (query("limit", whole("1 to 500.", default=50)), query("cursor", text("`next` of the page before.")))


def call(tag: str, name: str, summary: str, description: str, parameters: Sequence[Part], responses: Part,
         body: Part | None = None) -> Part:  # fmt: skip
    """Return one call, as `openapi_builder.call` writes it."""
    return openapi_builder.call(name, summary, description, responses, parameters=parameters, body=body, tag=tag)


def page(name: str, schema: str) -> Schema:
    """Return the schema of one page of a list."""
    following = {"type": ["string", "null"], "description": "The cursor of the next page; null on the last."}
    return thing({name: several(ref(schema)), "next": following}, required=(name, "next"))
