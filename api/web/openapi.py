"""The OpenAPI document of the whole service: the part of each dialect, and short entries for all other routes.

A dialect may have `openapi(settings)`, which returns any of `tags`, `paths` and `components`; paths are written as
in OpenAPI (`/v1/jobs/{job_id}`), and a call that names no tag gets the first tag. A route that no dialect describes
gets an entry from its docstring, so that the document lists every call that exists. `x-tagGroups`, an extension that
viewers of such documents know, has the tags of each wire.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from flask import Flask
from werkzeug.routing import Rule

from api import dialects
from api.auth import is_public
from api.openapi_builder import Part, empty, openapi_path, ref, response, text, thing
from shared.settings import Settings

_SERVICE = {
    "/healthz": ("Liveness", "200 while the process runs; no dependency is checked."),
    "/readyz": ("Readiness", "200 if database, queue, a worker and the default model are ready; 503 with the reasons."),
    "/metrics": (
        "Metrics for Prometheus",
        "Pictures that wait or run, workers, drift; with a key, models of its tenant have their names.",
    ),
}
_TAGS = {"Service": "Whether it is ready, and its metrics.", "Pages": "What people look at in a browser."}
_SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
    "APIKey": {"type": "apiKey", "in": "header", "name": "APIKey"},
}
_STATE = thing({"status": text()}, required=("status",), additionalProperties=True)
_PROBLEM = response("What is wrong, and what to do.", ref("Problem"), "application/problem+json")
_ANSWERS: dict[str, dict[str, Part]] = {
    "/ui": {"302": empty("To `/`.")},
    "/samples/{name}": {
        "200": response("The photograph.", {}, "image/*"),
        "304": empty("It is as it was."),
    },
    "/openapi.json": {"200": response("The document.", thing({}))},
    "/favicon.ico": {"200": response("The icon.", text(), "image/svg+xml")},
    "/static/{filename}": {
        "200": response("A part of a page.", {}, "*/*"),
        "304": empty("It is as it was."),
    },
    "/healthz": {"200": response("The process runs.", _STATE)},
    "/readyz": {
        "200": response("The service is ready.", _STATE),
        "503": response("It is not, with the reason at each part.", _STATE),
    },
    "/metrics": {"200": response("The metrics.", text(), "text/plain")},
}
"""What the routes answer that no dialect describes; all others are pages."""
_PAGE = {"200": response("The page.", text(), "text/html")}
_FILE = {"type": "string", "format": "binary", "contentMediaType": "application/octet-stream"}
_UNDESCRIBED = {
    "description": "The body that this wire reads; most wires read pictures as `files`.",
    "content": {"multipart/form-data": {"schema": {
        "type": "object", "properties": {"files": {"type": "array", "items": _FILE}}, "additionalProperties": True,
    }}},
}  # fmt: skip
_ABOUT = (
    "A request becomes a job that workers run; you wait for the answer, poll for it, or receive a webhook. "
    "On loopback no key is needed until the first key exists."
)
Document = dict[str, Any]


def describe(app: Flask, settings: Settings, version: str) -> Document:
    """Return the document for this app, with every route that it has."""
    document: Document = {
        "openapi": "3.1.0",
        "info": {"title": "inferq", "version": version, "description": _ABOUT},
        "servers": [{"url": "/"}],
        "security": [{name: []} for name in _SECURITY],
        "tags": [],
        "x-tagGroups": [],
        "paths": {},
        "webhooks": {},
        "components": {"securitySchemes": dict(_SECURITY)},
    }
    all_dialects = dialects.find()
    ours_first = sorted(all_dialects, key=lambda dialect: "/" not in dialect.PREFIXES)
    tags = {dialect.__name__: _merge(document, dialect, settings) for dialect in ours_first}
    for path, method, rule in _routes(app):
        entry = document["paths"].setdefault(path, {})
        if method not in entry:
            tag = tags[dialects.speaking(all_dialects, path).__name__]
            entry[method] = _operation(app.view_functions[rule.endpoint], rule, path, method, tag)
        if is_public(rule.endpoint):
            entry[method]["security"] = []
    _name_tags(document)
    return document


def _merge(document: Document, dialect: dialects.Dialect, settings: Settings) -> str:
    """Add the part of the dialect to the document; return the tag of its calls that name no tag."""
    describe_dialect = getattr(dialect, "openapi", None)
    part: Document = describe_dialect(settings) if describe_dialect else {}
    name = dialect.__name__.rsplit(".", 1)[-1].replace("_", " ")
    tag = str(part["tags"][0]["name"]) if part.get("tags") else name
    tags = part.get("tags") or [{"name": tag}]
    document["tags"] += tags
    group = name.capitalize() if len(tags) > 1 else tag
    document["x-tagGroups"].append({"name": group, "tags": [each["name"] for each in tags]})
    document["paths"] |= part.get("paths", {})
    document["webhooks"] |= part.get("webhooks", {})
    for kind, entries in part.get("components", {}).items():
        document["components"].setdefault(kind, {}).update(entries)
    for entry in part.get("paths", {}).values():
        for call in entry.values():
            call.setdefault("tags", [tag])
    return tag


def _routes(app: Flask) -> Iterator[tuple[str, str, Rule]]:
    """Yield (path, method, rule) of each route; HEAD and OPTIONS are left out, as Flask adds them itself."""
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: rule.rule):
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            yield openapi_path(rule.rule), method.lower(), rule


def _operation(view: Callable[..., Any], rule: Rule, path: str, method: str, tag: str) -> Document:
    """Return a short entry for a route that no dialect describes: its docstring, and the parameters of its path."""
    about = (inspect.getdoc(view.func if isinstance(view, partial) else view) or "").split("\n\n")[0].replace("\n", " ")
    summary, about = _SERVICE.get(path, (f"{method.upper()} {path}", about))
    if path in _SERVICE:
        tag = "Service"
    elif rule.endpoint.startswith("web."):
        tag = "Pages"
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in sorted(rule.arguments)
    ]
    return {
        **({"requestBody": _UNDESCRIBED} if method == "post" else {}),
        "tags": [tag],
        "operationId": re.sub(r"\W+", "_", f"{method}_{path}").strip("_"),
        "summary": summary,
        "description": about,
        "parameters": parameters,
        "responses": {**_answers(path, rule), "default": _default(rule)},
    }


def _answers(path: str, rule: Rule) -> dict[str, Part]:
    """Return what a route that no dialect describes answers if nothing is wrong."""
    return _ANSWERS.get(path) or (_PAGE if rule.endpoint.startswith("web.") else {})


def _default(rule: Rule) -> Part:
    """Return what such a route answers otherwise; of a wire without a description nothing is known."""
    ours = rule.endpoint.startswith(("web.", "health.", "metrics."))
    return _PROBLEM if ours else empty("The answer of this wire.")


def _name_tags(document: Document) -> None:
    """Add the tags that no dialect describes, in the order of the paths, as a group of their own."""
    named = {tag["name"] for tag in document["tags"]}
    used = [tag for entry in document["paths"].values() for call in entry.values() for tag in call["tags"]]
    added = [name for name in dict.fromkeys(used) if name not in named]
    document["tags"] += [{"name": name, "description": _TAGS.get(name, "")} for name in added]
    document["x-tagGroups"].append({"name": "Operation", "tags": added})
