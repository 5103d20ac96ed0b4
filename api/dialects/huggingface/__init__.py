"""The wire of the Hugging Face Inference API for image classification, and the call that its clients make to the hub.

    POST /models/{id}        the body is a picture, or JSON with one in base64: `[{"label": …, "score": …}, …]`
    GET  /models/{id}        `{"ok": "ok"}`
    GET  /api/models/{id}    the kind of the model, for clients that have an id and no URL

The first two calls also exist below `/hf-inference`. An id is the name of a model, or an alias such as
`google/vit-base-patch16-224`. This wire has no polling: the answer is the labels, or an error `{"error": TEXT}`.
"""

from __future__ import annotations

from collections.abc import Sequence

from flask import Blueprint

from api.dialects.huggingface import routes
from api.dialects.huggingface.common import IDS, MODELS
from api.dialects.huggingface.errors import write_error
from api.dialects.huggingface.openapi_document import openapi
from shared.domain.keys import Caller
from shared.settings import Settings

PREFIXES = ("/models", "/hf-inference", "/api/models")


def blueprints(settings: Settings) -> Sequence[Blueprint]:
    """Return the blueprint of the models and of their descriptions on the hub."""
    bp = Blueprint("huggingface", __name__)
    for model_id in IDS:
        for models_path in MODELS:
            bp.add_url_rule(f"{models_path}/{model_id}", "infer", routes.infer, methods=["POST"])
            bp.add_url_rule(f"{models_path}/{model_id}", "exists", routes.exists, methods=["GET"])
        bp.add_url_rule(f"/api/models/{model_id}", "about", routes.about, methods=["GET"])
    return [bp]


def allowance(settings: Settings, caller: Caller) -> str:
    """Return the rate limit of one tenant on this wire."""
    return settings.huggingface_rate


__all__ = ["PREFIXES", "allowance", "blueprints", "openapi", "write_error"]
