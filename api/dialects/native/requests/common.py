"""Parsing of requests into their declared types, and the request parameters that many native calls share."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar, cast

from flask import request
from msgspec import inspect
from werkzeug.http import parse_dict_header

from api import reading
from api.context import caller, container
from api.reading import Fields
from shared import errors
from shared.domain.datasets import Dataset
from shared.domain.pictures import Upload
from shared.schemas.common import Request
from shared.services import datasets

R = TypeVar("R", bound=Request)
LARGEST_ID = 2**53
"""Every numeric id is below this number."""


def parse(kind: type[R], *sources: Mapping[str, Any]) -> R:
    """Return the request that the sources hold; the first source takes precedence over the next.

    Values are texts in forms and queries, and typed in JSON; both are accepted everywhere. Raises BadOption: for an
    unknown field with the nearest known name, for a missing or wrong field with the value that it must have.
    """
    known = _fields(kind)
    refuse_unknown(known, *sources)
    return kind(**_values(known, Fields(*sources)))


def parse_json(kind: type[R]) -> R:
    """Return the request in a small JSON body; fields that it lacks are taken from the query. Raises as `parse`."""
    return parse(kind, json_body(), request.args)


def parse_optional_json(kind: type[R]) -> R:
    """Return the request as `parse_json` does, of a call that may have no body; a body of another kind is refused, as
    the choice that it may hold would be lost."""
    return parse(kind, json_body() if reading.has_body(request) else {}, request.args)


def right_labels(label: str, labels: Sequence[str] | None) -> Sequence[str]:
    """Return the labels that a picture is given, one as `label`, or any number as `labels`; raises BadOption unless
    exactly one of the two is given."""
    if bool(label) == (labels is not None):
        raise errors.BadOption("name either the label that the picture shows, or for a multi-label dataset its labels")
    return [label] if labels is None else labels


def field_names(kind: type[Request]) -> Collection[str]:
    """Return the names of all fields of a request."""
    return _fields(kind)


def refuse_unknown(known: Collection[str], *sources: Mapping[str, Any]) -> None:
    """Raise BadOption if a source has a name that is not known, with the nearest known name."""
    for name in (name for source in sources for name in source):
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(known) or 'none'}"
            raise errors.BadOption(f"there is no option {name!r}; {hint}")


def json_body() -> dict[str, Any]:
    """Return the JSON object of a body that carries no picture; raises BadJson, TooLarge."""
    return reading.json_object(request, reading.SMALL)


def preferred_wait(default: float = 0.0) -> float:
    """Return the wait in seconds, from `Prefer` (RFC 7240); `respond-async` means 0. Raises BadOption."""
    preferred = parse_dict_header(request.headers.get("Prefer", ""))
    if "respond-async" in preferred and "wait" not in preferred:
        return 0.0
    try:
        return max(0.0, float(preferred.get("wait") or default))
    except ValueError:
        raise errors.BadOption("the wait in Prefer must be a number of seconds") from None


def refuse_idempotency_key() -> None:
    """Raise BadOption for an Idempotency-Key on a call that ignores it: its client would rely on the key."""
    if request.headers.get("Idempotency-Key"):
        raise errors.BadOption("an Idempotency-Key is for jobs only: leave it out, and look before you send this again")


def cursor_number(cursor: str) -> int | None:
    """Return the numeric id at the end of the page before; None for the first page. Raises BadOption."""
    if not cursor:
        return None
    if not cursor.isdecimal() or len(cursor) > 16 or not int(cursor) < LARGEST_ID:
        raise errors.BadOption("cursor must be the `next` of the page before")
    return int(cursor)


def get_dataset(reference: str | int) -> Dataset:
    """Return the caller's dataset by id or name; raises NotFound."""
    return datasets.get_by_reference(container(), caller().tenant, str(reference))


def find_dataset(reference: str | int) -> Dataset | None:
    """Return the caller's dataset by id or name; None without a reference. Raises NotFound."""
    return get_dataset(reference) if reference != "" else None


def only_file(what: str) -> Upload:
    """Return the only file part of a multipart body; raises NoInput, TooManyFiles."""
    uploads = list(reading.files(request, "file"))
    if not uploads:
        raise errors.NoInput(f"The request carries no file. Send {what} as `file`.")
    if len(uploads) > 1:
        raise errors.TooManyFiles(f"The request carries {len(uploads)} files. Send {what} as `file`, and nothing else.")
    return uploads[0]


@cache
def _fields(kind: type[Request]) -> dict[str, inspect.Field]:
    described = cast(inspect.StructType, inspect.type_info(kind))
    return {field.encode_name: field for field in described.fields}


def _values(known: Mapping[str, inspect.Field], fields: Fields) -> dict[str, Any]:
    values = {}
    for name, field in known.items():
        if not field.required and not fields.has(name):
            continue
        if _is_file(field.type) and fields.has(name):
            raise errors.NoInput(f"The field {name} holds a text, not a file; with curl: -F {name}=@FILE")
        if fields.has(name):
            values[field.name] = _value(name, field.type, fields)
        elif not _is_file(field.type):
            description = _schema(field.type).get("description", "")
            raise errors.BadOption(f"{name} is missing{f'. {description}' if description else ''}")
        else:
            values[field.name] = ""  # its route reads the parts of the form
    return values


def _value(name: str, kind: inspect.Type, fields: Fields) -> Any:
    """Return the value of a field in its declared type; raises BadOption."""
    value: Any
    match _bare(kind):
        case (inspect.IntType() | inspect.FloatType()) as number:
            value = _number(name, number, fields)
        case inspect.BoolType():
            value = fields.flag(name, default=False)
        case inspect.DictType():
            value = fields.mapping(name)
        case inspect.StructType() as struct:
            nested = fields.mapping(name)
            refuse_unknown(_fields(struct.cls), nested)
            value = struct.cls(**_values(_fields(struct.cls), Fields(nested)))
        case inspect.ListType() as texts:
            value = _texts(name, texts, fields)
        case inspect.UnionType() as union:
            scalar = all(
                isinstance(_bare(choice), inspect.StrType | inspect.IntType | inspect.FloatType)
                for choice in union.types
            )
            value = fields.text(name) if scalar else fields.raw(name)
        case _:
            value = _one_of(name, fields.text(name), _schema(kind).get("enum", ()))
    return value


def _number(name: str, kind: inspect.IntType | inspect.FloatType, fields: Fields) -> float:
    value = fields.whole(name, 0) if isinstance(kind, inspect.IntType) else fields.number(name, 0.0)
    if not _within(kind, value):
        raise errors.BadOption(f"{name} must be {_range(kind)}, not {value}")
    return value


def _texts(name: str, kind: inspect.ListType, fields: Fields) -> list[str]:
    texts, schema = fields.raw(name), _schema(kind.item_type)
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise errors.BadOption(f"{name} must be a list of texts")
    return [_one_of(name, text, schema.get("enum", ())) for text in texts]


def _one_of(name: str, value: str, allowed: Any) -> str:
    """Return the allowed value that is equal except for case; any value if none are listed. Raises BadOption."""
    choices = {str(choice).casefold(): str(choice) for choice in allowed if choice}
    if choices and value.casefold() not in choices:
        raise errors.BadOption(f"{name} must be one of {', '.join(choices.values())}, not {value!r}")
    return choices.get(value.casefold(), value)


def _within(kind: inspect.IntType | inspect.FloatType, value: float) -> bool:
    return not (
        (kind.ge is not None and value < kind.ge)
        or (kind.le is not None and value > kind.le)
        or (kind.gt is not None and value <= kind.gt)
        or (kind.lt is not None and value >= kind.lt)
    )


def _range(kind: inspect.IntType | inspect.FloatType) -> str:
    """Return the range of a number in words."""
    bounds = [
        f"{words} {bound:g}" if abs(bound) < 1e6 else f"{words} {bound}"
        for words, bound in (("at least", kind.ge), ("above", kind.gt), ("at most", kind.le), ("below", kind.lt))
        if bound is not None
    ]
    noun = "a whole number" if isinstance(kind, inspect.IntType) else "a number"
    return f"{noun}, {' and '.join(bounds)}"


def _schema(kind: inspect.Type) -> dict[str, Any]:
    """Return the annotations of a type: description, enum and so on."""
    return dict(kind.extra_json_schema or {}) if isinstance(kind, inspect.Metadata) else {}


def _bare(kind: inspect.Type) -> inspect.Type:
    """Return the type without annotations, and without None if it is optional."""
    if isinstance(kind, inspect.Metadata):
        return _bare(kind.type)
    if isinstance(kind, inspect.UnionType):
        choices = [choice for choice in kind.types if not isinstance(choice, inspect.NoneType)]
        return _bare(choices[0]) if len(choices) == 1 else kind
    return kind


def _is_file(kind: inspect.Type) -> bool:
    """Return True for the bytes of a file, or a list of them, which come as parts of the form."""
    if isinstance(bare := _bare(kind), inspect.ListType):
        return _is_file(bare.item_type)
    return "contentMediaType" in _all_annotations(kind)


def _all_annotations(kind: inspect.Type) -> dict[str, Any]:
    return _schema(kind) | (_all_annotations(kind.type) if isinstance(kind, inspect.Metadata) else {})
