"""Predictions: `/predict`, one picture in, its labels out, counted by the month."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

from flask import Response, after_this_request, jsonify, request
from flask.typing import ResponseReturnValue

from api import reading
from api.context import caller, container, scope, submit_and_wait
from api.dialects.einstein_vision.accounts import NO_QUOTA
from api.dialects.einstein_vision.common import METER, Calls, model_id, png_or_jpeg, sent
from api.reading import Fields
from shared import errors
from shared.adapters import http_fetch
from shared.domain.jobs import AnswerOptions, Submission
from shared.domain.pictures import Limits, Picture
from shared.imaging import images
from shared.services import models, usage

PREDICT_PATH = "/vision/predict"
GENERAL = "GeneralImageClassifier"
"""What every account had from the start; here the default model."""
MAX_PICTURE = 5 * 1024 * 1024
"""Bytes."""
MAX_RESULTS = 100_000
"""As many labels as a job may have; who asks for more gets all there are anyway."""


@scope("infer")
def predict() -> ResponseReturnValue:
    """Classify one picture and wait; 200 with the labels. Counted unless it fails."""
    with _one_of_quota():
        fields = sent()
        labels = _answer(_read(fields))
    sample = fields.text("sampleId")
    return jsonify(
        {
            "probabilities": [{"label": label, "probability": score} for label, score in labels],
            **({"sampleId": sample} if sample else {}),
            "object": "predictresponse",
        }
    )


@contextmanager
def _one_of_quota() -> Iterator[None]:
    """Around what is counted: one of the month's predictions, given back when it fails.

    One that is still running when its caller leaves is used: its answer can be fetched.
    """
    limit = container().settings.einstein_quota or NO_QUOTA
    tenant = caller().tenant
    used = usage.take(container(), tenant, METER, limit)
    _tell(limit, limit if used is None else used)
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
        with suppress(errors.Unavailable):  # what went wrong is what the caller is to hear
            usage.give_back(container(), tenant, METER)
        _tell(limit, used - 1)
        raise


def _tell(limit: int, used: int) -> None:
    """Put on the reply, whatever it will be, how many predictions are left; said again, the later word counts."""

    @after_this_request
    def _headers(response: Response) -> Response:
        response.headers["X-RateLimit-Limit"] = str(limit)
        response.headers["X-RateLimit-Remaining"] = str(max(0, limit - used))
        response.headers["X-RateLimit-Reset"] = f"{_clock(usage.month(container().now())[1])}.0"
        return response


def _clock(when: float) -> str:
    return f"{datetime.fromtimestamp(when, UTC):%Y-%m-%d %H:%M:%S}"


def _read(fields: Fields) -> Submission:
    """The form as a submission; the picture is fetched and looked at when the model is known to be there."""
    model = model_id(fields)
    results = fields.whole("numResults", 5)
    if results < 1:
        raise errors.BadOption(f"numResults must be at least 1, not {results}")
    files = request.files.getlist("sampleContent")
    texts = [(name, text) for name in ("sampleBase64Content", "sampleLocation") if (text := fields.text(name))]
    if len(files) + len(texts) != 1:
        raise errors.NoInput(
            "Send exactly one picture in multipart/form-data: `sampleContent` (a file part), `sampleBase64Content` or "
            "`sampleLocation` (a URL)."
        )
    limits = png_or_jpeg(MAX_PICTURE)
    return Submission(
        pictures=_from_file(limits) if files else _from_text(*texts[0], limits),
        model="" if model == GENERAL and not _is_known(GENERAL) else model,
        options=AnswerOptions(top_k=min(results, MAX_RESULTS)),
        wire=METER,
    )


def _is_known(model: str) -> bool:
    """Whether somebody has called a model so, by name or alias; that one is then meant, and no other."""
    with suppress(errors.NotFound):
        models.get_version(container(), caller().tenant, model)
        return True
    return False


def _from_file(limits: Limits) -> Iterator[Picture]:
    """The picture in the file part; an archive is no picture here."""
    part = request.files["sampleContent"]
    yield images.check(reading.file_name(part), part.stream.read(limits.max_bytes + 1), limits)


def _from_text(field: str, value: str, limits: Limits) -> Iterator[Picture]:
    """The picture in base64, or behind a URL."""
    if field == "sampleBase64Content":
        yield images.check(field, images.from_base64(value), limits)
        return
    settings = container().settings
    data = http_fetch.fetch(
        value, max_bytes=limits.max_bytes, timeout=settings.fetch_timeout, allow_private=settings.fetch_private
    )
    yield images.check(value.rpartition("/")[2] or field, data, limits)


def _answer(asked: Submission) -> list[tuple[str, float]]:
    """(label, score), best first. A model that cannot be used yet is, to this wire, one that is not there."""
    try:
        _, item = submit_and_wait(asked)
    except (errors.NotFound, errors.ModelNotReady, errors.ModelRefused) as error:
        if not asked.model:  # nobody named it: the service is not ready
            raise errors.Unavailable(error.message, retry_after=error.retry_after) from error
        raise errors.NotFound(f"The model id {asked.model!r} cannot be found. {error.message}") from error
    return [(label, score) for label, score in item.result]


CALLS: Calls = ((PREDICT_PATH, "POST", predict),)
