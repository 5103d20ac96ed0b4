"""The wire of SAP Leonardo's image services, all three generations of it, as their documentation and clients show it.

    services.py, prediction.py    pictures in, labels or features out; synchronously, or by a job
    retraining.py                 `/api/v2/image/retraining`: store, jobs, models, deployments
    complaints.py                 what is wrong, in the style of the path
    document.py, retraining_document.py    the same for the page of the calls

Not served: similarity scoring, OCR, object detection.
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
    """All paths of all generations, and of retraining."""
    return [prediction.blueprint(), retraining.bp]


def allowance(settings: Settings, _caller: Caller) -> str:
    """How often one tenant may ask."""
    return settings.sap_rate


__all__ = ["PREFIXES", "allowance", "blueprints", "openapi", "write_error"]
