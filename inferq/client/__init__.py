"""The Python client of a server: `from inferq.client import Client`.

    with Client("http://127.0.0.1:8000", key="...") as client:    # or INFERQ_URL and INFERQ_KEY, and Client()
        job = client.jobs.classify("duck.jpg")
        print(job.predictions[0].results[0].label)

What its methods return are the types of `shared/schemas`, which the server writes.
"""

from __future__ import annotations

from inferq.client.client import Client
from inferq.client.connection import DEFAULT_URL
from inferq.client.http import Picture
from inferq.client.webhook_signature import is_genuine
from inferq.errors import BadAnswer, InferqError, InferqHTTPError, StillRunning, Unreachable

__all__ = [
    "DEFAULT_URL",
    "BadAnswer",
    "Client",
    "InferqError",
    "InferqHTTPError",
    "Picture",
    "StillRunning",
    "Unreachable",
    "is_genuine",
]
