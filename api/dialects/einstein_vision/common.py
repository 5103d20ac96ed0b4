"""What all calls of this wire share: its generations, its times and lists, and how it reads what it is sent."""

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
from shared.domain.pictures import Limits

View = Callable[..., ResponseReturnValue]
Calls = Sequence[tuple[str, str, View]]
"""(path below the generation, method, view) of each call of a module."""
GENERATIONS = ("/v2", "/v1")
METER = "einstein"
"""What predictions are counted as, and what jobs and trainings say they came by."""
FORMATS = frozenset({"JPEG", "PNG"})
LANGUAGE, KIND = "N/A", "image"
"""Said of every dataset and model: no text is learned from here, and pictures have one label each."""
LARGEST = 2**53 - 1
"""Of ids and offsets: what every client and every database can count to."""


class Number(BaseConverter):
    """An id in a path, trimmed like one in a form; what is larger than any id is not found."""

    regex = r"\s*[0-9]{1,16}\s*"

    def to_python(self, value: str) -> int:
        number = int(value)
        if number > LARGEST:
            raise ValidationError
        return number


class Name(UnicodeConverter):
    """The name of a model in a path, trimmed like one in a form."""

    def to_python(self, value: str) -> str:
        return value.strip()


CONVERTERS = {"einstein_number": Number, "einstein_name": Name}
"""By the names that they have in the rules of paths, which all wires share."""


def time(when: float) -> str:
    """Such as `2017-02-17T00:22:10.000+0000`."""
    moment = datetime.fromtimestamp(when, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}+0000"


def new_id() -> str:
    """26 capitals and digits; later ones are larger. What models and deletions are called on this wire."""
    return base64.b32encode(uuid6.uuid7().bytes).decode().rstrip("=")


def generation() -> str:
    """The prefix of the generation by which this request came."""
    return next(prefix for prefix in GENERATIONS if request.path.startswith(f"{prefix}/"))


def sent() -> Fields:
    """The parameters in the form; raises BadOption for JSON, which no client of this wire sends."""
    if reading.is_json(request):
        raise errors.BadOption("Send the parameters as multipart/form-data; JSON is not read here.")
    return Fields(request.form)


def needed(fields: Fields, name: str) -> str:
    """The text of a field; raises BadOption where there is none."""
    value = fields.text(name)
    if not value:
        raise errors.BadOption(f"The '{name}' parameter is required.")
    return value


def model_id(fields: Fields) -> str:
    """The model that is named; some clients escape its name as in a URL."""
    name = unquote(needed(fields, "modelId")).strip()
    if not name:
        raise errors.BadOption("The 'modelId' parameter is required.")
    return name


def png_or_jpeg(max_bytes: int) -> Limits:
    """What is taken as a picture; `max_bytes` is what the call documents."""
    limits = replace(reading.limits(container().settings), formats=FORMATS)
    return replace(limits, max_bytes=min(limits.max_bytes, max_bytes))


def within(name: str, value: float, low: float, high: float) -> None:
    """Raise BadOption unless the value lies between the two, both included."""
    if not low <= value <= high:
        raise errors.BadOption(f"{name} must be from {low:g} to {high:g}, not {value}")


def window(most: int) -> tuple[int, int]:
    """(offset, count) of a list, `most` unless less is asked for; raises BadOption.

    Who asks for more than `most` gets `most`, as the vendor documents it; behind LARGEST there is nothing.
    """
    fields = Fields(request.args)
    offset, count = fields.whole("offset", 0), fields.whole("count", most)
    if offset < 0 or count < 1:
        raise errors.BadOption(f"offset must be 0 or more and count 1 or more, not {offset} and {count}")
    return min(offset, LARGEST), min(count, most)


def listed(data: Sequence[Any]) -> Response:
    """A list."""
    return jsonify(object="list", data=data)


def deletion(kind: str, deleted: str, *, done: bool, message: str) -> Response:
    """What is said of something that was asked to go."""
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
