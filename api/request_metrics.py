"""Requests are counted by wire, method, route and status, with the time until their answers begin."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

from flask import Response, request

from api.context import container
from api.dialects import Dialect, speaking
from api.load_shedding import GIVEN_AGAIN, HOLDS_FOR
from shared.domain import metrics

ARRIVED = "inferq.arrived"
"""Key of the WSGI environment under which the HTTP server leaves the monotonic seconds at which a request had
arrived, before it waited for a thread."""
UNKNOWN = "(unknown)"
"""The route of requests that lead nowhere, and their method: callers may invent as many as they like."""


class RequestMetrics:
    """Counts the requests of one app."""

    def __init__(self, dialects: Sequence[Dialect]) -> None:
        self._dialects = dialects
        self._labels: dict[tuple[str, str], metrics.Labels] = {}

    def begin(self) -> None:
        """Note when the request began, if the server has not; runs before all else."""
        request.environ.setdefault(ARRIVED, time.monotonic())

    def count(self, response: Response) -> Response:
        """Count the request with its answer; runs last. It costs some microseconds and calls nothing outside."""
        labels, counts = self._find_labels(), container().queue.counts
        with_status = (*labels, str(response.status_code))
        counts.add(metrics.REQUESTS, with_status)
        counts.observe(metrics.REQUEST_SECONDS, time.monotonic() - request.environ[ARRIVED], labels)
        if HOLDS_FOR in request.environ:  # then the server answers others like it without this application
            request.environ[GIVEN_AGAIN] = partial(counts.add, metrics.REQUESTS, with_status)
        return response

    def _find_labels(self) -> metrics.Labels:
        """Return the wire, the method and the template of the route, such as `/v1/jobs/<job_id>`."""
        rule = request.url_rule
        if rule is None:
            return self._wire(request.path), UNKNOWN, UNKNOWN
        found = self._labels.get((rule.rule, request.method))
        if found is None:
            found = self._labels[rule.rule, request.method] = (self._wire(rule.rule), request.method, rule.rule)
        return found

    def _wire(self, path: str) -> str:
        return speaking(self._dialects, path).__name__.rpartition(".")[2]
