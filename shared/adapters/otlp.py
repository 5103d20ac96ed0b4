"""Traces that are sent to an OpenTelemetry collector by OTLP over HTTP; the only place for OpenTelemetry.

Spans are sent by a thread, a second late at most. While the collector is away they are dropped, and no request waits.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from multiprocessing.util import Finalize

from opentelemetry import context, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from shared.adapters.tracing import Attributes, Kind, Span, Tracing
from shared.settings import Settings

EVERY = 1000
"""Milliseconds between two sendings."""
TIMEOUT = 5
"""Seconds for one."""
_W3C = TraceContextTextMapPropagator()
_KINDS: Mapping[str, trace.SpanKind] = {kind.name.lower(): kind for kind in trace.SpanKind}


class _OtlpSpan(Span):
    def __init__(self, span: trace.Span, now: Callable[[], float]) -> None:
        self.span, self._now = span, now

    def set(self, attributes: Attributes) -> None:
        self.span.set_attributes(attributes)

    def fail(self, reason: str) -> None:
        self.span.set_status(trace.StatusCode.ERROR, reason)

    def end(self) -> None:
        self.span.end(_nanoseconds(self._now()))


class OtlpTracing(Tracing):
    """Tracing that is on. Times are those of the service's clock, so that spans of several machines fit together."""

    is_on = True

    def __init__(self, settings: Settings, now: Callable[[], float]) -> None:
        """Nothing is started before the first span: granian forks, and its main process has none."""
        self._settings, self._now = settings, now
        self._starting = threading.Lock()

    @cached_property
    def _provider(self) -> TracerProvider:
        settings = self._settings
        provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(settings.otlp_percent / 100)),
            resource=Resource.create(
                {"service.name": "inferq", "service.instance.id": settings.process_name or "inferq"}
            ),
            shutdown_on_exit=False,  # `close` does it, also in processes whose exit runs no such handlers
        )
        exporter = OTLPSpanExporter(endpoint=f"{settings.otlp_endpoint.rstrip('/')}/v1/traces", timeout=TIMEOUT)
        provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=EVERY))
        Finalize(None, provider.shutdown, exitpriority=0)
        return provider

    @property
    def _tracer(self) -> trace.Tracer:
        with self._starting:
            return self._provider.get_tracer("inferq")

    def begin(self, name: str, attributes: Attributes, headers: Mapping[str, str]) -> Span:
        span = self._start(name, _W3C.extract(headers), attributes, "server")
        context.attach(trace.set_span_in_context(span.span))  # for the rest of the request's own context
        return span

    @contextmanager
    def span(self, name: str, attributes: Attributes, *, parent: str = "", kind: Kind = "internal") -> Iterator[Span]:
        begun = self._start(name, _context(parent) if parent else None, attributes, kind)
        token = context.attach(trace.set_span_in_context(begun.span))
        try:
            yield begun
        except Exception as error:
            begun.fail(type(error).__name__)
            raise
        finally:
            context.detach(token)
            begun.end()

    def current(self) -> str:
        return _traceparent(trace.get_current_span().get_span_context())

    def add(
        self, name: str, parent: str, began: float, ended: float, attributes: Attributes, *,
        kind: Kind = "internal", links: Sequence[str] = (), problem: str = "",
    ) -> str:  # fmt: skip
        linked = [trace.Link(trace.get_current_span(_context(text)).get_span_context()) for text in links]
        span = self._tracer.start_span(
            name, _context(parent), _KINDS[kind], attributes, linked, start_time=_nanoseconds(began)
        )
        if problem:
            span.set_status(trace.StatusCode.ERROR, problem)
        span.end(_nanoseconds(max(began, ended)))
        return _traceparent(span.get_span_context())

    def close(self) -> None:
        with suppress(Exception):  # the collector may be away, and the process ends all the same
            if "_provider" in self.__dict__:
                self._provider.shutdown()

    def _start(self, name: str, parent: context.Context | None, attributes: Attributes, kind: Kind) -> _OtlpSpan:
        begun = self._tracer.start_span(name, parent, _KINDS[kind], attributes, start_time=_nanoseconds(self._now()))
        return _OtlpSpan(begun, self._now)


def _context(parent: str) -> context.Context:
    """Return the context of a traceparent, without that of this thread; of an empty one, that of a new trace."""
    return _W3C.extract({"traceparent": parent}, context=context.Context())


def _traceparent(about: trace.SpanContext) -> str:
    if not about.is_valid or not about.trace_flags.sampled:
        return ""
    return f"00-{about.trace_id:032x}-{about.span_id:016x}-{int(about.trace_flags):02x}"


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1_000_000_000)
