"""Serializers of labels, with the headers that report where and how long they were computed."""

from __future__ import annotations

import contextlib
import gzip
import time
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from flask import Response, g, jsonify, request

from api.context import container
from shared import errors
from shared.container import Container

WORTH_PACKING = 1000
"""Bytes from which an answer is compressed for clients that accept gzip."""


def write_labels(result: Sequence[Sequence[Any]], computed_by: str) -> Response:
    """Return (label, score) pairs as JSON, best first; `computed_by` is `cpu`, `gpu` or `cache`."""
    response = add_compute_headers(write([{"label": label, "score": score} for label, score in result]), computed_by)
    response.headers["x-compute-images"] = "1"
    return response


def write(body: Any, status: int = 200) -> Response:
    """Return JSON, compressed if long and accepted."""
    response = jsonify(body)
    response.status_code = status
    data = response.get_data()
    if len(data) >= WORTH_PACKING:
        response.headers["Vary"] = "Accept-Encoding"
        if request.accept_encodings["gzip"]:
            response.set_data(gzip.compress(data, mtime=0))
            response.headers["Content-Encoding"] = "gzip"
    return response


def add_compute_headers(response: Response, by: str) -> Response:
    """Add what computed the answer, and the seconds since the request began; `g.began` must be set."""
    response.headers["x-compute-type"] = by
    response.headers["x-compute-time"] = f"{time.perf_counter() - g.began:.3f}"
    response.headers["access-control-expose-headers"] = "x-compute-type, x-compute-time"
    return response


def device() -> str:
    """Return `gpu` if any worker has one, else `cpu`; the worker of a job is unknown. Redis is asked every 10 s."""
    return _looked_up(container(), int(time.monotonic() / 10))


@lru_cache(maxsize=4)
def _looked_up(container: Container, ten_seconds: int) -> str:
    with contextlib.suppress(errors.Unavailable):
        if any(not worker["device"].startswith("cpu") for worker in container.queue.brief_workers.list()):
            return "gpu"
    return "cpu"
