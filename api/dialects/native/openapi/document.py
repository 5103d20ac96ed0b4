"""The native wire's part of the OpenAPI document: tags, paths from the operations, schemas from the declared types."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from api import openapi_builder
from api.dialects.native.openapi.operations import Body, Media, Operation
from api.openapi_builder import Part, Schema, path, response
from shared.schemas.common import Answer, Problem, Request
from shared.schemas.webhooks import DriftEvent, JobEvent, PingEvent, TrainingEvent

TAGS = (
    ("Jobs", "Submit pictures, follow the job, read its results."),
    ("Dead letters", "Pictures of ended jobs that have no answer, and how to run them again."),
    ("Webhooks", "What was called back, and how that ended; a test of a receiver; the secret that signs."),
    ("Datasets", "Labelled pictures to train on."),
    ("Trainings", "From a dataset to a version of a model, with the evidence of its quality."),
    ("Suggestions", "Which pictures that a model has seen are most worth labelling."),
    ("Promotion", "Which version answers by default, and on what evidence."),
    ("Models", "The models of the service and of the caller."),
    ("Keys", "The keys of the service; to manage them needs the scope `keys`."),
    ("Tenants", "The limits of tenants; these calls need the scope `keys`."),
    ("Fleet", "The queue, the running workers, the last day, and what is wrong."),
)
_PATH_PARAMETERS = {
    "alias": "A name, or OWNER/NAME, such as `google/vit-base-patch16-224`.",
    "comparison_id": "The `id` of the comparison.",
    "delivery_id": "The `id` of the delivery: that of its job, training or drifted day.",
    "example_id": "The `id` of the example.",
    "job_id": "The `_id` of the job.",
    "key_id": "The `id` of the key.",
    "kind": "The format: `svg` or `png`.",
    "name": "The name of the model.",
    "position": "Which picture of the job; 0 is the first.",
    "plot": "Which plot: `confusion`, `curve` or `reliability`.",
    "reference": "The id of the dataset; or its name, for the newest of that name.",
    "suggestion_id": "The `id` of the suggestion.",
    "tenant": "The name of the tenant.",
    "training_id": "The `id` of the training.",
    "version": "The version; `1` is the first.",
}
_WEBHOOKS: dict[str, type[Answer]] = {
    "jobEnded": JobEvent, "trainingEnded": TrainingEvent, "modelDrifted": DriftEvent, "ping": PingEvent,
}  # fmt: skip
_FORM, _JSON, _RAW = "multipart/form-data", "application/json", "application/octet-stream"
_REF = "#/components/schemas/{name}"


def document(operations: Mapping[tuple[str, str], Operation]) -> Part:
    """Return tags, paths and component schemas; `operations` are keyed by (path, method)."""
    paths: dict[str, Part] = {}
    for (rule, method), operation in operations.items():
        paths.setdefault(rule, {})[method] = _call(rule, operation)
    kinds: set[type[Request] | type[Answer]] = {
        *_WEBHOOKS.values(),
        *(kind for operation in operations.values() for kind in operation.types()),
    }
    return {
        "tags": [{"name": name, "description": description} for name, description in TAGS],
        "paths": paths,
        "webhooks": {name: {"post": _webhook(name, kind)} for name, kind in _WEBHOOKS.items()},
        "components": {"schemas": schemas([*sorted(kinds, key=lambda kind: kind.__name__), Problem])},
    }


def schemas(kinds: Iterable[type[Request] | type[Answer]]) -> dict[str, Schema]:
    """Return the JSON Schemas of the types, and of all types that their fields have, by name."""
    _, components = msgspec.json.schema_components(kinds, ref_template=_REF)
    return {name: _required_first(_tidy(schema)) for name, schema in components.items()}


def _required_first(schema: Schema) -> Schema:
    """Return the schema of an object with its required properties first, as the page /docs asks for them first."""
    required = schema.get("required", ())
    properties = sorted(schema.get("properties", {}).items(), key=lambda item: item[0] not in required)
    return schema | ({"properties": dict(properties)} if properties else {})


def _call(rule: str, operation: Operation) -> Part:
    needs = f"Needs the scope `{operation.scope}`." if operation.scope in ("models", "keys") else ""
    parameters = [path(name, _PATH_PARAMETERS[name]) for name in re.findall(r"{(\w+)}", rule)]
    return openapi_builder.call(
        operation.name,
        operation.summary,
        f"{operation.description} {needs}".strip(),
        {str(status): _response(*answer) for status, answer in operation.answers.items()}
        | {"default": response("What is wrong, and what to do.", openapi_builder.ref("Problem"),
                               "application/problem+json")},
        parameters=[*parameters, *_query(_query_type(operation)), *operation.headers],
        body=_body(operation.body) if operation.body else None,
        tag=operation.tag,
    )  # fmt: skip


def _webhook(name: str, kind: type[Answer]) -> Part:
    return {
        "operationId": name,
        "summary": (kind.__doc__ or "").rstrip("."),
        "description": "Signed as Standard Webhooks say, with two signatures while a secret rotates. Sent again, later "
        "and later, until a status 2xx or 410 answers; a ping is sent once.",
        "requestBody": {"required": True, "content": {_JSON: {"schema": openapi_builder.ref(kind.__name__)}}},
        "responses": {"2XX": openapi_builder.empty("It was received.")},
    }


def _response(description: str, kind: type[Answer] | Media | None) -> Part:
    if kind is None:
        return openapi_builder.empty(description)
    if isinstance(kind, Media):
        return {"description": description, "content": {media_type: {} for media_type in kind.types}}
    return response(description, openapi_builder.ref(kind.__name__))


def _query_type(operation: Operation) -> type[Request] | None:
    return operation.query or (operation.body.query if operation.body else None)


def _query(kind: type[Request] | None) -> list[Part]:
    if kind is None:
        return []
    fields = schemas([kind])[kind.__name__]
    return [
        openapi_builder.query(name, schema)
        | ({"required": True} if name in fields.get("required", ()) else {})
        for name, schema in fields["properties"].items()
    ]  # fmt: skip


def _body(body: Body) -> Part:
    content: Part = {}
    if body.form:
        content[_FORM] = {"schema": openapi_builder.ref(body.form.__name__)}
    if body.json:
        content[_JSON] = {"schema": openapi_builder.ref(body.json.__name__)}
        if body.example:
            content[_JSON]["example"] = dict(body.example)
    if body.raw:
        content[_RAW] = {"schema": openapi_builder.binary(body.raw, body.raw_example)}
    return {"required": True, "content": content}


def _tidy(schema: Any) -> Any:
    """Return a schema without titles and empty defaults, and with `null` among the types of an optional scalar."""
    if isinstance(schema, list):
        return [_tidy(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    tidy: dict[str, Any] = {
        key: _tidy_properties(value) if key == "properties" else _tidy(value)
        for key, value in schema.items()
        if key != "title" and not (key == "default" and value in ("", None, [], {}))
    }
    choices: list[Any] = tidy.get("anyOf", [])
    if len(choices) == 2 and choices[1] == {"type": "null"} and isinstance(choices[0].get("type"), str):
        del tidy["anyOf"]
        tidy = choices[0] | tidy | {"type": [choices[0]["type"], "null"]}
    return tidy


def _tidy_properties(properties: dict[str, Any]) -> dict[str, Any]:
    return {name: _tidy(schema) for name, schema in properties.items()}
