"""Reading JSON and plain data into types, the first time by one thread only.

Of a type that another thread is about to read for the first time, msgspec uses what is half built, and the process
crashes. So each type gets its decoder under a lock, before anything is read into it.
"""

from __future__ import annotations

import threading
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}
_building = threading.Lock()


def decode(kind: type[T], text: str | bytes) -> T:
    """Return what a JSON text holds. Raises msgspec.DecodeError, or its ValidationError that names the wrong field;
    UnicodeDecodeError, RecursionError."""
    return _decoder(kind).decode(text)


def convert(kind: type[T], data: Any) -> T:
    """Return a type filled with plain dictionaries, lists, texts and numbers. Raises msgspec.ValidationError."""
    _decoder(kind)
    return msgspec.convert(data, kind)


def _decoder(kind: type[T]) -> msgspec.json.Decoder[T]:
    if decoder := _decoders.get(kind):
        return decoder
    with _building:
        return _decoders.setdefault(kind, msgspec.json.Decoder(kind))
