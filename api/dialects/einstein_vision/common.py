"""Helpers of all calls of this wire: its generations, times and lists, and the parsing of its parameters."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import uuid6
from flask import Response, jsonify, request
from flask.typing import ResponseReturnValue
from werkzeug.routing import BaseConverter, UnicodeConverter, ValidationError

from api import reading
from api.context import caller, container
from api.reading import Fields
from shared import errors
from shared.adapters.pauses import Waiting
from shared.domain.models import ProblemType
from shared.domain.pictures import Limits

Route = Callable[..., ResponseReturnValue | Waiting[ResponseReturnValue]]
Calls = Sequence[tuple[str, str, Route]]
"""(path below the generation, method, route) of each call of a module."""
GENERATIONS = ("/v2", "/v1")
METER = "einstein"
"""The meter that counts the predictions, and the wire that jobs and trainings record."""
FORMATS = frozenset({"JPEG", "PNG"})
LANGUAGE = "N/A"
"""The language of every dataset and model: no text is trained on."""
KINDS = {"image": ProblemType.SINGLE_LABEL, "image-multi-label": ProblemType.MULTI_LABEL}
"""The `type` of a dataset or model -> how many labels each picture has."""
LARGEST = 2**53 - 1
"""The largest id and offset: every client and every database can represent it exactly."""


class Number(BaseConverter):
    """The converter reads an id in a path, trimmed like an id in a form; a number above LARGEST is a 404."""

    regex = r"\s*[0-9]{1,16}\s*"

    def to_python(self, value: str) -> int:
        number = int(value)
        if number > LARGEST:
            raise ValidationError
        return number


class Name(UnicodeConverter):
    """The converter reads the name of a model in a path, trimmed like a name in a form."""

    def to_python(self, value: str) -> str:
        return value.strip()


CONVERTERS = {"einstein_number": Number, "einstein_name": Name}
"""The converters by their names in URL rules; all wires share these names."""


def kind_of(problem_type: ProblemType | None) -> str:
    """Return the type of a dataset or model; that of one label for a dataset that is not loaded yet."""
    return next((kind for kind, known in KINDS.items() if known is problem_type), "image")


def time(when: float) -> str:
    """Return a time such as `2017-02-17T00:22:10.000+0000`; `when` is in Unix seconds."""
    moment = datetime.fromtimestamp(when, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}+0000"


def new_id() -> str:
    """Return a new id of a model or a deletion: 26 capitals and digits, which increase with time."""
    return base64.b32encode(uuid6.uuid7().bytes).decode().rstrip("=")


def generation() -> str:
    """Return the path prefix of the generation of this request."""
    return next(prefix for prefix in GENERATIONS if request.path.startswith(f"{prefix}/"))


def form_fields() -> Fields:
    """Return the parameters of the form; raises BadOption for JSON, which no client of this wire sends."""
    if reading.is_json(request):
        raise errors.BadOption("Send the parameters as multipart/form-data; JSON is not read here.")
    return Fields(request.form)


def required_text(fields: Fields, name: str) -> str:
    """Return the text of a field; raises BadOption when it is empty or missing."""
    value = fields.text(name)
    if not value:
        raise errors.BadOption(f"The '{name}' parameter is required.")
    return value


def model_id(fields: Fields) -> str:
    """Return the named model; some clients escape its name as in a URL. Raises BadOption when it is missing."""
    name = unquote(required_text(fields, "modelId")).strip()
    if not name:
        raise errors.BadOption("The 'modelId' parameter is required.")
    return name


def png_or_jpeg(max_bytes: int) -> Limits:
    """Return the limits of a picture on this wire; `max_bytes` is the documented limit of the call."""
    limits = replace(reading.limits(container().settings), formats=FORMATS)
    return replace(limits, max_bytes=min(limits.max_bytes, max_bytes))


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Raise BadOption unless the value lies from `low` to `high`, both included."""
    if not low <= value <= high:
        raise errors.BadOption(f"{name} must be from {low:g} to {high:g}, not {value}")


def window(most: int) -> tuple[int, int]:
    """Return (offset, count) of a list; `count` is `most` unless the request asks for less. Raises BadOption.

    A request for more than `most` gets `most`, as the vendor documents it; no list reaches beyond LARGEST.
    """
    fields = Fields(request.args)
    offset, count = fields.whole("offset", 0), fields.whole("count", most)
    if offset < 0 or count < 1:
        raise errors.BadOption(f"offset must be 0 or more and count 1 or more, not {offset} and {count}")
    return min(offset, LARGEST), min(count, most)


def list_response(data: Sequence[Any]) -> Response:
    """Return a list in this wire's envelope."""
    return jsonify(object="list", data=data)


def deletion(kind: str, deleted: str, *, done: bool, message: str) -> Response:
    """Return the answer to a deletion of the thing with the id `deleted`, done at once or queued."""
    return jsonify(
        id=new_id(),
        type=kind,
        status="SUCCEEDED" if done else "QUEUED",
        progress=1 if done else 0,
        message=message,
        object="deletion",
        organizationId=caller().tenant,
        deletedObjectId=deleted,
    )
