"""The Python client of a server: `from inferq.client import Client`."""

from __future__ import annotations

from inferq.client.connection import DEFAULT_URL
from inferq.client.jobs_and_models import Client

__all__ = ["DEFAULT_URL", "Client"]
