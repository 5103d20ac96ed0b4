"""Parsing of the requests: the body as a picture or as JSON, its parameters and its options."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flask import request

from api import reading
from api.context import container
from api.reading import Fields
from shared import errors
from shared.domain.jobs import AnswerOptions
from shared.domain.models import ModelVersion
from shared.domain.sizes import exactly
from shared.imaging import images


@dataclass(frozen=True)
class ParsedRequest:
    """The picture, the parameters and the options of one request body."""

    picture: bytes
    """Bytes that are not checked yet."""
    parameters: Any = None
    options: Any = None

    def flag(self, name: str, default: bool) -> bool:
        """Return a boolean option, from the header `x-…` or from the body; raises BadOption."""
        header = {name: request.headers.get(f"x-{name.replace('_', '-')}")}
        return Fields(header, _object("options", self.options)).flag(name, default)


def read() -> ParsedRequest:
    """Parse the body, whatever its Content-Type: JSON that holds a picture, else the picture itself.

    Raises TooLarge. Whether the bytes are a picture is not checked yet.
    """
    settings = container().settings
    limit = reading.with_pictures(settings)
    upload = reading.body(request)
    body = upload.stream.read(limit + 1) if upload else b""
    try:
        parsed = _from_json(body) if len(body) <= limit else ParsedRequest(body)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        parsed = ParsedRequest(body)
    if len(parsed.picture) > settings.max_picture:
        raise errors.TooLarge(
            f"The picture has more than the allowed {exactly(settings.max_picture)}. Make it smaller."
        )
    return parsed


def _from_json(body: bytes) -> ParsedRequest:
    """Parse JSON that holds a picture; raises ValueError, KeyError, TypeError and others for any other body."""
    if not reading.begins_like_json(body[:100]) or sum(map(body.count, (b",", b"[", b"{"))) > reading.MAX_VALUES:
        raise ValueError
    document = json.loads(body)  # in any UTF, with or without its mark
    coded = document.get("image") or document["inputs"]
    try:
        picture = images.from_base64(coded)
    except errors.BadBase64:
        picture = base64.b64decode(coded.encode())  # as the vendor does: characters outside base64 are skipped
    return ParsedRequest(picture, document.get("parameters"), document.get("options"))


def _object(name: str, value: Any) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise errors.BadOption(f"{name} must be an object")
    return value


def answer_options(parameters: Any, version: ModelVersion) -> AnswerOptions:
    """Return the answer options; raises BadOption for a parameter that this task lacks, and for an invalid value."""
    values = _object("parameters", parameters)
    if unknown := set(values) - {"top_k", "function_to_apply"}:
        raise errors.BadOption(f"unknown parameter {min(unknown)!r}; there are top_k and function_to_apply")
    fields = Fields(values)
    top_k = min(fields.whole("top_k", 5), max(1, len(version.labels)))
    return AnswerOptions(top_k=top_k, function_to_apply=fields.text("function_to_apply").lower())
