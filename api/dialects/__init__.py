"""What a dialect is: one wire, one file (or folder), found by listing; nothing foreign leaves it.

A dialect module has:

    PREFIXES            the beginnings of the paths it answers; the longest that fits decides who speaks
    blueprints(settings) the Flask blueprints with its views; each view reads, calls a use-case, writes
    write_error(error)  how this wire complains about an InferqError
    openapi(settings)   if it has more to say about its calls than their docstrings: tags, paths, components
    allowance(settings, caller)  if it limits how often one tenant may ask: the rule for the caller, such as 100/minute

Views get their container and their caller from `api.context`. Unknown paths, wrong methods and bugs end up in the
factory's one handler, which finds the dialect by the path and lets it speak.
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
    """The three things that a dialect module must have."""

    __name__: str
    PREFIXES: Sequence[str]
    blueprints: Callable[[Settings], Sequence[Blueprint]]
    write_error: Callable[[InferqError], ResponseReturnValue]


def find() -> list[Dialect]:
    """Every module and package in this folder."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return [cast(Dialect, importlib.import_module(f"{__name__}.{name}")) for name in names]


def speaking(dialects: Sequence[Dialect], path: str) -> Dialect:
    """Whose path this is; the native dialect answers for `/`, and so for everything that nobody else claims."""
    fitting = [(len(prefix), index) for index, d in enumerate(dialects) for prefix in d.PREFIXES if _fits(path, prefix)]
    return dialects[max(fitting)[1]]


def _fits(path: str, prefix: str) -> bool:
    return path == prefix or path.startswith(prefix if prefix.endswith("/") else f"{prefix}/")
