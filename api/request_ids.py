"""Each request has an id, its caller's or a new one: it is in the log lines of the request, and in its answer.

A caller's `X-Request-Id` is taken if it is well-formed, else the `X-Amzn-Trace-Id` of a load balancer or of the client
of Hugging Face. Ids are not unique if callers repeat theirs, so nothing is found by them but lines of the log.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable

from flask import Response, g, request

from shared import logs

HEADER = "X-Request-Id"
_TAKEN = ("x-request-id", "x-amzn-trace-id")
_WELL_FORMED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:;=/+@-]{0,127}")
"""No space, comma or quote, which separate the fields of a line."""


def find(header: Callable[[str], str | None]) -> str:
    """Return the id of a request: its caller's, or a new one of 64 random bits. `header` returns a header by its name
    in lower case."""
    for name in _TAKEN:
        text = header(name)
        if text and _WELL_FORMED.fullmatch(text):
            return text
    return os.urandom(8).hex()


def begin() -> None:
    """Choose the id of the request; runs before everything else."""
    g.request_id = find(request.headers.get)
    logs.bind(request=g.request_id)


def add_header(response: Response) -> Response:
    """Answer with the id."""
    response.headers[HEADER] = g.get("request_id") or find(request.headers.get)
    return response
