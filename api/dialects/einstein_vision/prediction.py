"""`/vision/predict` classifies one picture; its predictions are counted by the month."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

from flask import Response, after_this_request, jsonify, request
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import FileStorage

from api import reading
from api.context import caller, container, scope, submit_and_wait
from api.dialects.einstein_vision.accounts import NO_QUOTA
from api.dialects.einstein_vision.common import METER, Calls, form_fields, model_id, png_or_jpeg
from api.reading import Fields
from shared import errors
from shared.adapters import http_fetch
from shared.domain.jobs import AnswerOptions, Submission
from shared.domain.models import ModelVersion, ProblemType
from shared.domain.pictures import Limits, Picture, name_in_url
from shared.domain.rejection import answer_without_doubt
from shared.imaging import images
from shared.services import models, usage

PREDICT_PATH = "/vision/predict"
GENERAL = "GeneralImageClassifier"
"""The model that every account of the vendor has from the start; here it means the default model."""
MAX_PICTURE = 5 * 1024 * 1024
"""Most bytes of one picture."""
ALL_LABELS = "sigmoid"
"""The function with which a multi-label model answers: named in a request, it gives all labels, without thresholds."""
MAX_RESULTS = 100_000
"""Most labels of a job; a request for more gets all labels of the model anyway."""


@scope("infer")
async def predict() -> ResponseReturnValue:
    """Classify one picture and wait; 200 with the labels. A prediction counts unless it fails."""
    with _counted_prediction():
        fields = form_fields()
        labels, is_multi_label = await _classify(_read(fields))
    sample = fields.text("sampleId")
    return jsonify(
        {
            "probabilities": [{"label": label, "probability": score} for label, score in labels],
            **({"sampleId": sample} if sample else {}),
            "object": "multilabelpredictresponse" if is_multi_label else "predictresponse",
        }
    )


@contextmanager
def _counted_prediction() -> Iterator[None]:
    """Take one of the month's predictions for the block, and give it back when the block fails.

    A prediction that still runs when the wait ends counts as used: its answer can be fetched.
    """
    limit = container().settings.einstein_quota or NO_QUOTA
    tenant = caller().tenant
    used = usage.take(container(), tenant, METER, limit)
    _set_quota_headers(limit, limit if used is None else used)
    if used is None:
        _, end = usage.month(container().now())
        raise errors.TooManyRequests(
            f"All {limit} predictions of this month are used; there are new ones from {_clock(end)} UTC.",
            retry_after=end - container().now(),
        )
    try:
        yield
    except errors.StillRunning:
        raise
    except BaseException:
        with suppress(errors.Unavailable):  # the caller must get the original error, not Unavailable
            usage.give_back(container(), tenant, METER)
        _set_quota_headers(limit, used - 1)
        raise


def _set_quota_headers(limit: int, used: int) -> None:
    """Set the headers with the remaining predictions on any response; a later call overrides an earlier call."""

    @after_this_request
    def _headers(response: Response) -> Response:
        response.headers["X-RateLimit-Limit"] = str(limit)
        response.headers["X-RateLimit-Remaining"] = str(max(0, limit - used))
        response.headers["X-RateLimit-Reset"] = f"{_clock(usage.month(container().now())[1])}.0"
        return response


def _clock(when: float) -> str:
    return f"{datetime.fromtimestamp(when, UTC):%Y-%m-%d %H:%M:%S}"


def _read(fields: Fields) -> Submission:
    """Return the form as a submission; the picture is fetched and checked only once the model is known to exist."""
    model = model_id(fields)
    results = fields.whole("numResults", 5)
    if results < 1:
        raise errors.BadOption(f"numResults must be at least 1, not {results}")
    texts = [(name, text) for name in ("sampleBase64Content", "sampleLocation") if (text := fields.text(name))]
    files = request.files.getlist("sampleContent")
    if len(files) + len(texts) != 1:
        raise errors.NoInput(
            "Send exactly one picture in multipart/form-data: `sampleContent` (a file part), `sampleBase64Content` or "
            "`sampleLocation` (a URL)."
        )
    limits = png_or_jpeg(MAX_PICTURE)
    if model == GENERAL and _find(GENERAL) is None:  # a model or alias of that name has precedence over the default
        model = ""
    version = _find(model)
    options = AnswerOptions(top_k=min(results, MAX_RESULTS))
    if version and version.problem_type is ProblemType.MULTI_LABEL:
        options = AnswerOptions(top_k=MAX_RESULTS, function_to_apply=ALL_LABELS)
    return Submission(
        pictures=_from_file(files[0], limits) if files else _from_text(*texts[0], limits),
        model=model,
        options=options,
        wire=METER,
    )


def _find(model: str) -> ModelVersion | None:
    """Return the version that answers for a model or alias of the tenant, or for the default model; None if there is
    none."""
    with suppress(errors.NotFound):
        return models.get_version(container(), caller().tenant, model)
    return None


def _from_file(part: FileStorage, limits: Limits) -> Iterator[Picture]:
    """Yield the picture in the file part; an archive is not accepted here."""
    yield images.check(reading.file_name(part), part.stream.read(limits.max_bytes + 1), limits)


def _from_text(field: str, value: str, limits: Limits) -> Iterator[Picture]:
    """Yield the picture from base64, or fetched from a URL."""
    if field == "sampleBase64Content" or images.is_data_url(value):
        yield images.check(field, images.from_base64(value), limits)
        return
    settings = container().settings
    data = http_fetch.fetch(
        value, max_bytes=limits.max_bytes, timeout=settings.fetch_timeout, allow_private=settings.fetch_private
    )
    yield images.check(name_in_url(value) or field, data, limits)


async def _classify(submission: Submission) -> tuple[list[tuple[str, float]], bool]:
    """Return (label, score), best first, and True if the model is multi-label.

    Raises NotFound for a model that is unknown or not ready yet.
    """
    try:
        job, item = await submit_and_wait(submission)
    except (errors.NotFound, errors.ModelNotReady, errors.ModelRefused) as error:
        if not submission.model:  # the request named no model, so the service is not ready
            raise errors.Unavailable(error.message, retry_after=error.retry_after) from error
        raise errors.NotFound(f"The model id {submission.model!r} cannot be found. {error.message}") from error
    labels = [(label, score) for label, score in answer_without_doubt(item.result, item.verdict)]
    return labels, job.options.function_to_apply == ALL_LABELS


CALLS: Calls = ((PREDICT_PATH, "POST", predict),)
