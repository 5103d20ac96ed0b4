"""Traces of requests, from the API through a worker to the webhook, for an OpenTelemetry collector; off by default.

`Tracing` is tracing that is off: it does nothing, and loads nothing. shared/adapters/otlp.py sends traces. A trace goes
from process to process as text, the header `traceparent` of W3C Trace Context, which is empty for what is not traced.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal

Kind = Literal["internal", "server", "client", "producer", "consumer"]
"""The kinds of spans that OpenTelemetry knows."""
Attributes = Mapping[str, str | int | float | bool]


class Span:
    """A span that goes on; this one is not recorded."""

    def set(self, attributes: Attributes) -> None:
        """Add what is known only later."""

    def fail(self, reason: str) -> None:
        """Mark the span as failed."""

    def end(self) -> None:
        """End the span now."""


class Tracing:
    """Tracing that is off; its subclass in otlp.py has the same methods."""

    is_on = False

    def begin(self, name: str, attributes: Attributes, headers: Mapping[str, str]) -> Span:
        """Begin the span of a request, of which `headers` may name the parent, and make it the current span of this
        context; its caller ends it."""
        return Span()

    @contextmanager
    def span(self, name: str, attributes: Attributes, *, parent: str = "", kind: Kind = "internal") -> Iterator[Span]:
        """Record the block as a span, below `parent` (a traceparent) or else the current span."""
        yield Span()

    def current(self) -> str:
        """Return the traceparent of the current span; empty if there is none that is recorded."""
        return ""

    def add(
        self, name: str, parent: str, began: float, ended: float, attributes: Attributes, *,
        kind: Kind = "internal", links: Sequence[str] = (), problem: str = "",
    ) -> str:  # fmt: skip
        """Record a span that has ended, and return its traceparent; the times are Unix seconds. Without `parent` it is
        a trace of its own; with a `problem` it has failed."""
        return ""

    def close(self) -> None:
        """Send what is recorded."""
