"""Answers as the server writes them, of which a test names only the fields that it is about."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from shared.schemas.common import Answer
from shared.schemas.datasets import Dataset
from shared.schemas.jobs import Job
from shared.schemas.models import ModelDetails, Version
from shared.schemas.trainings import Training

A = TypeVar("A", bound=Answer)

SOME_TIME = "2026-01-02T03:04:05Z"
"""The time of everything that a test names no time for."""
_PLAINEST: Mapping[type[inspect.Type], Any] = {
    inspect.StrType: "",
    inspect.BoolType: False,
    inspect.IntType: 0,
    inspect.FloatType: 0.0,
    inspect.ListType: [],
    inspect.DictType: {},
}


def complete(kind: type[A], /, **fields: Any) -> dict[str, Any]:
    """Return the JSON of an answer with these fields; the server's other required fields have placeholders.

    Objects in `known` may be incomplete as well. Fields have the names of the type, or those of the wire.
    """
    return answer(kind, **fields).to_json()


def answer(kind: type[A], /, **fields: Any) -> A:
    """Return the answer that `complete` returns the JSON of, as a client reads it."""
    return msgspec.convert(_object(_declared(kind), fields), kind)


def job(status: str, **fields: Any) -> dict[str, Any]:
    """Return the job j1."""
    model = {"name": "m", "version": "1"}
    terminal = status not in ("QUEUED", "RUNNING")
    return complete(Job, **{"id": "j1", "status": status, "terminal": terminal, "model": model} | fields)


def version(state: str, **fields: Any) -> dict[str, Any]:
    """Return version 1 of the model `birds`."""
    resnet = {"name": "birds", "version": "1", "state": state, "architecture": "resnet18", "labels": 1000}
    return complete(Version, **resnet | fields)


def model(*versions: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Return the model `birds`, which is the default model."""
    birds = {"name": "birds", "default_version": "1", "is_default": True, "versions": list(versions)}
    return complete(ModelDetails, **birds | fields)


def dataset(state: str, **fields: Any) -> dict[str, Any]:
    """Return the dataset 7, `flowers`."""
    return complete(Dataset, **{"id": 7, "name": "flowers", "state": state, "version": 1, "progress": 1.0} | fields)


def training(status: str, **fields: Any) -> dict[str, Any]:
    """Return the training t1 of the model `flowers`."""
    return training_answer(status, **fields).to_json()


def training_answer(status: str, **fields: Any) -> Training:
    """Return the training t1 of the model `flowers`, as a client reads it."""
    terminal = status in ("DONE", "FAILED", "CANCELLED")
    flowers = {"id": "t1", "status": status, "terminal": terminal, "name": "flowers", "base": "resnet18 1"}
    return answer(Training, **flowers | fields)


@cache
def _declared(kind: type[Answer]) -> inspect.StructType:
    declared = inspect.type_info(kind)
    assert isinstance(declared, inspect.StructType)
    return declared


def _object(declared: inspect.StructType, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of an object by their names on the wire; raises TypeError for one that the type lacks."""
    names = {field.name: field.encode_name for field in declared.fields}
    given = {names.get(name, name): value for name, value in fields.items()}
    if lacking := given.keys() - names.values():
        raise TypeError(f"{declared.cls.__name__} has no field {', '.join(sorted(lacking))}")
    return {
        field.encode_name: (
            _completed(field.type, given[field.encode_name]) if field.encode_name in given else _placeholder(field.type)
        )
        for field in declared.fields
        if field.required or field.encode_name in given
    }


def _completed(declared: inspect.Type, value: Any) -> Any:
    """Return a value with its objects completed."""
    match declared:
        case inspect.Metadata():
            return _completed(declared.type, value)
        case inspect.UnionType():
            kinds = [kind for kind in declared.types if isinstance(kind, inspect.StructType)]
            return _completed(kinds[0], value) if kinds else value
        case inspect.ListType() if isinstance(value, list):
            return [_completed(declared.item_type, item) for item in value]
        case inspect.StructType() if isinstance(value, Mapping):
            return _object(declared, value)
    return value


def _placeholder(declared: inspect.Type) -> Any:
    """Return null where it is allowed, and otherwise the plainest value of the type."""
    match declared:
        case inspect.Metadata():
            plainest = _placeholder(declared.type)
            schema = declared.extra_json_schema or {}
            times = [SOME_TIME] if schema.get("format") == "date-time" else []
            named = [*schema.get("enum", ()), *schema.get("examples", ()), *times]
            return named[0] if plainest == "" and named else plainest
        case inspect.UnionType():
            return None if declared.includes_none else _placeholder(declared.types[0])
        case inspect.StructType():
            return _object(declared, {})
    return _PLAINEST[type(declared)]
