"""The wire of SAP Leonardo's image services, in all three generations, as their documentation and clients show it.

    services.py, prediction.py    pictures in, labels or features out; synchronously, or by a job
    similarity.py                 vectors in, the most similar ones of each out
    retraining.py                 `/api/v2/image/retraining`: store, jobs, models, deployments
    errors.py                     error responses, in the style of the path
    openapi_document.py, openapi_retraining.py    this wire's part of the OpenAPI document

Not served: OCR, object detection.
"""

from __future__ import annotations

from collections.abc import Sequence

from flask import Blueprint

from api.dialects.sap_leonardo import prediction, retraining
from api.dialects.sap_leonardo.errors import write_error
from api.dialects.sap_leonardo.openapi_document import openapi
from shared.domain.keys import Caller
from shared.settings import Settings

PREFIXES = ("/inference_sync", "/jobs", "/ml", "/mlfs", "/api/v2", "/oauth")


def blueprints(settings: Settings) -> Sequence[Blueprint]:
    """Return the blueprints with all paths of all generations, and of retraining."""
    return [prediction.blueprint(), retraining.bp]


def allowance(settings: Settings, _caller: Caller) -> str:
    """Return the rate limit of one tenant on this wire."""
    return settings.sap_rate


__all__ = ["PREFIXES", "allowance", "blueprints", "openapi", "write_error"]
