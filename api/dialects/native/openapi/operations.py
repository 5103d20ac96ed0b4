"""The declaration of an operation stands at its route: its query, body and answers are types of `shared/schemas`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any, TypeVar, cast

from flask import Blueprint, request

from api.dialects.native.requests.common import refuse_unknown
from api.openapi_builder import Part, header, openapi_path
from shared.schemas.common import Answer, Request

Route = TypeVar("Route", bound=Callable[..., Any])

WAIT = header("Prefer", "`wait=N` waits up to N seconds for the end; `respond-async` does not wait.")
ONCE = header("Idempotency-Key", "Sent again with the same key, the same request gives the same job.")
IF_NONE_MATCH = header("If-None-Match", "The `ETag` of the answer before.")


@dataclass(frozen=True)
class Body:
    """The forms in which a request may be sent; the page /docs fills its JSON field with `example`."""

    form: type[Request] | None = None
    json: type[Request] | None = None
    raw: str = ""
    """What the whole body may be; empty if it must be a form or JSON."""
    raw_example: str = "photo.jpg"
    """The name of a file that may be the whole body."""
    query: type[Request] | None = None
    """The options of a body that is a file, which go into the query, where those of forms and JSON may be too."""
    example: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Media:
    """An answer that is not JSON."""

    types: Sequence[str]


@dataclass(frozen=True)
class Operation:
    """One call of the native wire."""

    name: str
    """The operationId, unique in the document."""
    tag: str
    summary: str
    description: str
    query: type[Request] | None
    body: Body | None
    headers: Sequence[Part]
    answers: Mapping[int, tuple[str, type[Answer] | Media | None]]
    """Status -> (description, content); None is an answer without a body."""
    scope: str = ""
    """The scope that the caller's key must have; `@scope` stands above `@operation`, so that it is checked first."""

    def types(self) -> Iterator[type[Request] | type[Answer]]:
        """Yield the types of its bodies and answers."""
        if self.body:
            yield from (kind for kind in (self.body.form, self.body.json) if kind)
        yield from (kind for _, kind in self.answers.values() if isinstance(kind, type))


def operation(
    name: str,
    tag: str,
    answers: Mapping[int, tuple[str, type[Answer] | Media | None]],
    *,
    query: type[Request] | None = None,
    body: Body | None = None,
    headers: Sequence[Part] = (),
) -> Callable[[Route], Route]:
    """Declare a route as an operation; summary and description are the first line and the rest of its docstring.

    A query to an operation that takes none is refused with BadOption.
    """

    def decorate(route: Route) -> Route:
        summary, _, description = (inspect.getdoc(route) or "").partition("\n\n")

        @wraps(route)
        def checked(*args: Any, **kwargs: Any) -> Any:
            if query is None and body is None:
                refuse_unknown({}, request.args)
            return route(*args, **kwargs)

        checked.operation = Operation(  # type: ignore[attr-defined]
            name=name,
            tag=tag,
            summary=" ".join(summary.split()).rstrip("."),
            description=" ".join(description.split()),
            query=query,
            body=body,
            headers=headers,
            answers=answers,
        )
        return cast(Route, checked)

    return decorate


class OperationsBlueprint(Blueprint):
    """A blueprint that knows the operations of its routes."""

    def __init__(self, name: str, import_name: str) -> None:
        super().__init__(name, import_name)
        self.operations: dict[tuple[str, str], Operation] = {}
        """(path in OpenAPI's notation, method in lower case) -> operation"""

    def add_url_rule(
        self, rule: str, endpoint: str | None = None, view_func: Any = None, *args: Any, **options: Any
    ) -> None:
        """Add a route, as Flask does, and remember its operation."""
        super().add_url_rule(rule, endpoint, view_func, *args, **options)
        for method in options["methods"]:
            scope = getattr(view_func, "scope", "")
            self.operations[openapi_path(rule), method.lower()] = replace(view_func.operation, scope=scope)
