"""The Python client of a server: `from inferq.client import Client`.

    with Client("http://127.0.0.1:8000", key="...") as client:    # or INFERQ_URL and INFERQ_KEY, and Client()
        job = client.jobs.classify("duck.jpg")
        print(job.predictions[0].results[0].label)

`AsyncClient` has the same methods as coroutines. What the methods return are the types of `shared/schemas`, which the
server writes.
"""

from __future__ import annotations

from inferq.client.client import AsyncClient, Client
from inferq.client.connection import DEFAULT_URL
from inferq.client.map_sources import Source
from inferq.client.mapping import Answered, MapProgress
from inferq.client.pictures import Picture
from inferq.client.webhook_signature import is_genuine
from inferq.errors import (
    BadAnswer,
    BadRequest,
    Conflict,
    Forbidden,
    InferqError,
    InferqHTTPError,
    NotFound,
    StillRunning,
    TimedOut,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    Unreachable,
)

__all__ = [
    "DEFAULT_URL",
    "Answered",
    "AsyncClient",
    "BadAnswer",
    "BadRequest",
    "Client",
    "Conflict",
    "Forbidden",
    "InferqError",
    "InferqHTTPError",
    "MapProgress",
    "NotFound",
    "Picture",
    "Source",
    "StillRunning",
    "TimedOut",
    "TooManyRequests",
    "Unauthorized",
    "Unavailable",
    "Unreachable",
    "is_genuine",
]
