"""A dialect is one wire in one file or folder, found by listing this folder; words of its wire stay inside it.

A dialect module has:

    PREFIXES            the beginnings of the paths it answers; the longest matching prefix decides the dialect
    blueprints(settings) the Flask blueprints with its routes; a route parses, calls a use-case and serializes
    write_error(error)  the response of this wire for an InferqError
    openapi(settings)   optional; describes its calls beyond their docstrings: tags, paths, components
    allowance(settings, caller)  optional; the rate limit of one tenant for this caller, such as 100/minute

Routes get their container and their caller from `api.context`. Unknown paths, wrong methods and bugs end up in the
factory's one error handler, which finds the dialect by the path and calls its `write_error`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from typing import Protocol, cast

from flask import Blueprint
from flask.typing import ResponseReturnValue

from shared.errors import InferqError
from shared.settings import Settings


class Dialect(Protocol):
    """The protocol lists the three attributes that a dialect module must have."""

    __name__: str
    PREFIXES: Sequence[str]
    blueprints: Callable[[Settings], Sequence[Blueprint]]
    write_error: Callable[[InferqError], ResponseReturnValue]


def find() -> list[Dialect]:
    """Return every module and package in this folder, sorted by name."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return [cast(Dialect, importlib.import_module(f"{__name__}.{name}")) for name in names]


def speaking(dialects: Sequence[Dialect], path: str) -> Dialect:
    """Return the dialect of a path; the native dialect has the prefix `/`, and so gets every path that no other has."""
    fitting = [(len(prefix), index) for index, d in enumerate(dialects) for prefix in d.PREFIXES if _fits(path, prefix)]
    return dialects[max(fitting)[1]]


def _fits(path: str, prefix: str) -> bool:
    return path == prefix or path.startswith(prefix if prefix.endswith("/") else f"{prefix}/")
