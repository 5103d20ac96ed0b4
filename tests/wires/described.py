"""A client that compares every answer with what the OpenAPI document says of the call."""

from __future__ import annotations

from functools import cache
from typing import Any

import jsonschema
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.exceptions import HTTPException
from werkzeug.test import TestResponse

from api.openapi_builder import openapi_path
from api.web.openapi import describe
from shared.container import Container
from shared.settings import Settings
from tests import apps


class DescribedClient(FlaskClient):
    """A test client that fails where status, media type or JSON of an answer are not as described."""

    def open(self, *arguments: Any, **options: Any) -> TestResponse:
        answer = super().open(*arguments, **options)
        call = _call(self.application, answer.request.path, answer.request.method)
        if call:
            _compare(call, answer)
        return answer


def described_client(container: Container) -> FlaskClient:
    """Return such a client of the app over this container."""
    app = apps.over(container)
    return DescribedClient(app, app.response_class)


@cache
def _document() -> dict[str, Any]:
    return {}


def _call(app: Flask, path: str, method: str) -> dict[str, Any]:
    document = _document()
    if not document:  # the same for all apps, and slow to make
        with app.app_context():
            document |= describe(app, Settings(), "0")
    try:
        rule, _ = app.url_map.bind("").match(path, method, return_rule=True)
    except HTTPException:
        return {}
    return dict(document["paths"][openapi_path(rule.rule)][method.lower()])


def _compare(call: dict[str, Any], answer: TestResponse) -> None:
    response = call["responses"].get(str(answer.status_code))
    assert response or answer.status_code >= 400, f"{call['operationId']} answers {answer.status_code}"
    content = (response or call["responses"]["default"]).get("content", {})
    kind = answer.mimetype or ""
    kinds = [kind_described for kind_described in content if kind_described in (kind, f"{kind.partition('/')[0]}/*")]
    assert bool(kinds) == bool(content), f"{call['operationId']} answers {kind}"
    if kinds and kinds[0].endswith("json"):
        schema = {**content[kinds[0]]["schema"], "components": _document()["components"]}
        checker = jsonschema.FormatChecker()
        jsonschema.Draft202012Validator(schema, format_checker=checker).validate(answer.get_json())
