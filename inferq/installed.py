"""Whether this installation can run the service, or has only the client."""

from __future__ import annotations

import importlib.util

_BROUGHT = ("flask", "celery", "sqlalchemy", "torch")
"""Some packages of the extra `server`; they are looked for, not imported."""
HOW_TO_GET_IT = "in the checkout: pip install '.[server]'"


def has_server() -> bool:
    """Return True if the packages of the extra `server` are there."""
    return all(map(importlib.util.find_spec, _BROUGHT))
