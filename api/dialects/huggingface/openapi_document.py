"""This wire's part of the OpenAPI document: its tag, its calls and their schemas."""

from __future__ import annotations

from typing import Any

from api import openapi_builder
from api.dialects.huggingface.common import IDS, MODELS
from api.openapi_builder import flag, number, several, text, thing, whole
from shared.domain.jobs import FUNCTIONS
from shared.settings import Settings


def openapi(settings: Settings) -> openapi_builder.Part:
    """Return the tags, paths and components of this wire."""
    about = "The Hugging Face Inference API for image classification. An id is the name of a model, or an alias."
    paths: dict[str, Any] = {}
    for model_id in IDS:
        parts = [openapi_builder.path(part.strip("<>"), "A part of the model's id.") for part in model_id.split("/")]
        braced = model_id.replace("<", "{").replace(">", "}")
        kind = "Alias" if len(parts) > 1 else "Model"
        for host, models_path in zip(("", "New"), MODELS, strict=True):
            paths[f"{models_path}/{braced}"] = _model_calls(f"{host}{kind}", parts)
        call = _call(f"About{kind}", "Describe a model", "For clients that have an id and no URL.", parts)
        paths[f"/api/models/{braced}"] = {"get": call}
    return {
        "tags": [{"name": "Hugging Face", "description": about}],
        "paths": paths,
        "components": {"schemas": _SCHEMAS},
    }


def _model_calls(which: str, parts: list[openapi_builder.Part]) -> openapi_builder.Part:
    switches = [
        openapi_builder.header("x-use-cache", "`false`: run the model, even if the answer is cached."),
        openapi_builder.header("x-wait-for-model", "`true`: wait for a model that is loading."),
    ]
    classify = _call(
        f"Classify{which}", "Classify a picture", "The Content-Type is ignored.", [*parts, *switches],
        schema=openapi_builder.ref("HuggingFaceLabels"),
        body=openapi_builder.body(raw=openapi_builder.binary(), json=openapi_builder.ref("HuggingFaceInputs")),
    )  # fmt: skip
    return {
        "post": classify,
        "get": _call(f"Alive{which}", "Look for a model", "It need not be ready.", parts),
    }


def _call(
    name: str,
    summary: str,
    description: str,
    parameters: list[openapi_builder.Part],
    *,
    schema: openapi_builder.Schema | None = None,
    body: openapi_builder.Part | None = None,
) -> openapi_builder.Part:
    responses = {
        "200": openapi_builder.response("The answer.", schema or thing({})),
        **{
            status: openapi_builder.response(description, openapi_builder.ref("HuggingFaceError"))
            for status, description in _ERRORS.items()
        },
    }
    return openapi_builder.call(f"huggingFace{name}", summary, description, responses, parameters=parameters, body=body)


_ERRORS = {
    "500": "The model was checked and refused.",
    "503": "The model is loading, or a part of the service is away.",
    "504": "The picture still waits; the message names its job.",
    "default": "The error.",
}
_PARAMETERS = thing(
    {
        "top_k": whole("Number of labels.", default=5, minimum=1),
        "function_to_apply": text("How logits become scores; by default softmax, or for a multi-label model sigmoid "
                                  "with its thresholds.", enum=list(FUNCTIONS)),
    },
    additionalProperties=False,
)  # fmt: skip
_SCHEMAS = {
    "HuggingFaceLabels": several(
        thing({"label": text(), "score": number()}, required=("label", "score")), "Best first."
    ),
    "HuggingFaceInputs": thing(
        {
            "inputs": text("The picture in base64."),
            "parameters": _PARAMETERS,
            "options": thing({"use_cache": flag(default=True), "wait_for_model": flag(default=False)}),
        },
        required=("inputs",),
    ),
    "HuggingFaceError": thing(
        {"error": text(), "estimated_time": number("Seconds until the model should be loaded; with 503.")},
        required=("error",),
    ),
}
