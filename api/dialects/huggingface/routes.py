"""The routes: classify a picture, and describe a model."""

from __future__ import annotations

import time

from flask import g
from flask.typing import ResponseReturnValue

from api import reading
from api.context import caller, container, scope, submit_and_wait, waiting_places
from api.dialects.huggingface import common, requests, serializers
from shared import errors
from shared.domain.jobs import Submission
from shared.domain.models import ALL_TENANTS, ModelVersion
from shared.domain.rejection import answer_without_doubt
from shared.imaging import images
from shared.services import models, result_cache

TASK = "image-classification"
PROVIDER = "hf-inference"


@scope("infer")
async def infer(name: str, owner: str = "") -> ResponseReturnValue:
    """Classify one picture and wait for the answer."""
    g.began = time.perf_counter()
    parsed = requests.read()
    version = await _ready_version(common.model_id(name, owner), parsed.flag("wait_for_model", False))
    picture = images.check("image", parsed.picture, reading.limits(container().settings))
    g.computing = True  # from here on an error response reports the compute time too
    use_cache = parsed.flag("use_cache", True)
    options = requests.answer_options(parsed.parameters, version)
    g.may_be_cached = use_cache
    if use_cache:
        cached = result_cache.recall(container(), caller().tenant, version, options, picture.data)
        if cached is not None:
            return serializers.write_labels(answer_without_doubt(*cached), "cache")
    submission = Submission([picture], version.name, version.version, options, wire="huggingface", remember=use_cache)
    _, item = await submit_and_wait(submission)
    return serializers.write_labels(answer_without_doubt(item.result, item.verdict), serializers.device())


@scope("infer")
def exists(name: str, owner: str = "") -> ResponseReturnValue:
    """Answer 200 if the model exists, ready or not; raises NotFound."""
    models.get_version(container(), caller().tenant, common.model_id(name, owner))
    return serializers.write({"ok": "ok"})


@scope("infer")
def about(name: str, owner: str = "") -> ResponseReturnValue:
    """Return the task of a model and the provider that serves it, for a client that has only an id."""
    model_id = common.model_id(name, owner)
    version = models.get_version(container(), caller().tenant, model_id)
    provider = {"status": "live", "providerId": model_id, "task": TASK}
    return serializers.write(
        {
            "id": model_id,
            "modelId": model_id,
            "pipeline_tag": TASK,
            "tags": [TASK],
            "private": version.tenant != ALL_TENANTS,
            "inferenceProviderMapping": {PROVIDER: provider},
        }
    )


async def _ready_version(model_id: str, wait: bool) -> ModelVersion:
    """Return the ready model, after at most PATIENCE seconds, or `max_wait` with `wait`; raises ModelNotReady."""
    try:
        return models.get_ready_version(container(), caller().tenant, model_id)
    except errors.ModelNotReady:
        with waiting_places().taken() as taken:
            if not taken:
                raise
            seconds = container().settings.max_wait if wait else common.PATIENCE
            return await models.until_ready(container(), caller().tenant, model_id, seconds)
