"""The wire of Salesforce's Einstein Vision, both generations of its paths: accounts, predictions and how many are left.

    POST /v2/oauth2/token      a signed assertion, or a refresh token, for an access token
    POST /v2/vision/predict    one picture in, its labels out: `sampleContent`, `sampleBase64Content`, `sampleLocation`
    GET  /v2/apiusage          what the tenant has used of the month

The same below `/v1`. Its clients know no polling and take nothing but 200 for a success: a wait that runs out is a
503, whose message names the job. A complaint is one sentence, as `message`. Not served yet: datasets and training;
not served: object detection, multi-label models.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from flask import Blueprint, Response, after_this_request, jsonify, request
from flask.typing import ResponseReturnValue

from api import auth, describing, reading
from api.context import answer, caller, scope, tools
from api.describing import number, several, text, thing, whole
from api.reading import Fields
from shared import accounts, errors, fetch, images, models, usage
from shared.errors import InferqError
from shared.images import Limits, Picture
from shared.jobs import Options, Submission
from shared.settings import Settings
from shared.tenants import Caller

PREFIXES = ("/v2", "/v1/vision", "/v1/oauth2", "/v1/apiusage")
GENERATIONS = ("/v2", "/v1")
TOKEN_PATH, PREDICT_PATH, USAGE_PATH = "/oauth2/token", "/vision/predict", "/apiusage"
HOSTED = ("https://api.einstein.ai/v2/oauth2/token", "https://api.metamind.io/v1/oauth2/token")
"""Whom a client signs for that believes to be talking to the vendor, and is only led here by name."""
BY_ASSERTION, BY_REFRESH = "urn:ietf:params:oauth:grant-type:jwt-bearer", "refresh_token"
GENERAL = "GeneralImageClassifier"
"""What every account had from the start; here the default model."""
FORMATS = frozenset({"JPEG", "PNG"})
MAX_PICTURE = 5 * 1024 * 1024
"""Bytes."""
MAX_RESULTS = 100_000
"""As many labels as a job may have; who asks for more gets all there are anyway."""
METER = "einstein"
"""What predictions are counted as, and what their jobs say they came by."""
NO_QUOTA = 2**31 - 1
"""Said where there is no quota: clients read a number of 32 bits, and there is no word for none."""


def blueprints(settings: Settings) -> Sequence[Blueprint]:
    """All calls, below both generations' prefixes."""
    bp = Blueprint("einstein-vision", __name__)
    for prefix in GENERATIONS:
        bp.add_url_rule(f"{prefix}{TOKEN_PATH}", f"token-{prefix}", token, methods=["POST"])
        bp.add_url_rule(f"{prefix}{PREDICT_PATH}", f"predict-{prefix}", predict, methods=["POST"])
        bp.add_url_rule(f"{prefix}{USAGE_PATH}", f"usage-{prefix}", used_up, methods=["GET"])
    return [bp]


def allowance(settings: Settings, caller: Caller) -> str:
    """How often one tenant may call."""
    return settings.einstein_rate


# accounts


@auth.public
def token() -> ResponseReturnValue:
    """An access token for a signed assertion or for a refresh token."""
    request.max_content_length = reading.SMALL  # before anybody has proved anything
    fields = Fields(request.form)
    grant = fields.text("grant_type")
    local = auth.from_loopback(request)
    if grant == BY_ASSERTION:
        offline = "offline" in fields.text("scope").split()
        given = accounts.exchange(
            tools(), _needed(fields, "assertion"), _audiences(), offline=offline, from_loopback=local
        )
    elif grant == BY_REFRESH:
        seconds = fields.whole("valid_for", accounts.LONGEST)
        given = accounts.refresh(tools(), _needed(fields, "refresh_token"), seconds, from_loopback=local)
    else:
        raise errors.BadOption(f"grant_type must be {BY_ASSERTION} or {BY_REFRESH}, not {grant!r}")
    body = {"access_token": given.access, "token_type": "Bearer", "expires_in": given.seconds}
    response = jsonify(body | ({"refresh_token": given.refresh} if given.refresh else {}))
    response.headers["Cache-Control"] = "no-store"
    return response


def _audiences() -> list[str]:
    """The addresses of this call: the hosted ones, and ours.

    Where nobody has set ours, it is what the request says. That lets whoever holds an assertion meant for another
    service pass it off as meant for us; a service that strangers reach has `public_url` set.
    """
    public_url = tools().settings.public_url.rstrip("/")
    return [*HOSTED, f"{public_url}{request.path}" if public_url else request.base_url]


# predictions


@scope("infer")
def predict() -> ResponseReturnValue:
    """Classify one picture and wait; 200 with the labels. Counted unless it fails."""
    with _one_of_quota():
        fields = Fields(request.form)
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
    limit = tools().settings.einstein_quota or NO_QUOTA
    tenant = caller().tenant
    used = usage.take(tools(), tenant, METER, limit)
    _tell(limit, limit if used is None else used)
    if used is None:
        _, end = usage.month(tools().now())
        raise errors.TooManyRequests(
            f"All {limit} predictions of this month are used; there are new ones from {_clock(end)} UTC.",
            retry_after=end - tools().now(),
        )
    try:
        yield
    except errors.StillRunning:
        raise
    except BaseException:
        with suppress(errors.Unavailable):  # what went wrong is what the caller is to hear
            usage.give_back(tools(), tenant, METER)
        _tell(limit, used - 1)
        raise


def _tell(limit: int, used: int) -> None:
    """Put on the reply, whatever it will be, how many predictions are left; said again, the later word counts."""

    @after_this_request
    def _headers(response: Response) -> Response:
        response.headers["X-RateLimit-Limit"] = str(limit)
        response.headers["X-RateLimit-Remaining"] = str(max(0, limit - used))
        response.headers["X-RateLimit-Reset"] = f"{_clock(usage.month(tools().now())[1])}.0"
        return response


def _clock(when: float) -> str:
    return f"{datetime.fromtimestamp(when, UTC):%Y-%m-%d %H:%M:%S}"


def _read(fields: Fields) -> Submission:
    """The form as a submission; the picture is fetched and looked at when the model is known to be there."""
    if reading.is_json(request):
        raise errors.BadOption("Send the parameters as multipart/form-data; JSON is not read here.")
    model = unquote(_needed(fields, "modelId")).strip()
    results = fields.whole("numResults", 5)
    if results < 1:
        raise errors.BadOption(f"numResults must be at least 1, not {results}")
    files = request.files.getlist("sampleContent")
    texts = [(name, sent) for name in ("sampleBase64Content", "sampleLocation") if (sent := fields.text(name))]
    if len(files) + len(texts) != 1:
        raise errors.NoInput(
            "Send exactly one picture in multipart/form-data: `sampleContent` (a file part), `sampleBase64Content` or "
            "`sampleLocation` (a URL)."
        )
    limits = replace(reading.limits(tools().settings), formats=FORMATS)
    limits = replace(limits, max_bytes=min(limits.max_bytes, MAX_PICTURE))
    return Submission(
        pictures=_from_file(limits) if files else _from_text(*texts[0], limits),
        model="" if model == GENERAL and not _is_known(GENERAL) else model,
        options=Options(top_k=min(results, MAX_RESULTS)),
        wire=METER,
    )


def _is_known(model: str) -> bool:
    """Whether somebody has called a model so, by name or alias; that one is then meant, and no other."""
    with suppress(errors.NotFound):
        models.find(tools(), caller().tenant, model)
        return True
    return False


def _needed(fields: Fields, name: str) -> str:
    value = fields.text(name)
    if not value:
        raise errors.BadOption(f"The '{name}' parameter is required.")
    return value


def _from_file(limits: Limits) -> Iterator[Picture]:
    """The picture in the file part; an archive is no picture here."""
    part = request.files["sampleContent"]
    yield images.check(reading.file_name(part), part.stream.read(limits.max_bytes + 1), limits)


def _from_text(field: str, value: str, limits: Limits) -> Iterator[Picture]:
    """The picture in base64, or behind a URL."""
    if field == "sampleBase64Content":
        yield images.check(field, images.from_base64(value), limits)
        return
    settings = tools().settings
    data = fetch.fetch(
        value, max_bytes=limits.max_bytes, timeout=settings.fetch_timeout, allow_private=settings.fetch_private
    )
    yield images.check(value.rpartition("/")[2] or field, data, limits)


def _answer(asked: Submission) -> list[tuple[str, float]]:
    """(label, score), best first. A model that cannot be used yet is, to this wire, one that is not there."""
    try:
        _, item = answer(asked)
    except (errors.NotFound, errors.ModelNotReady, errors.ModelRefused) as error:
        if not asked.model:  # nobody named it: the service is not ready
            raise errors.Unavailable(error.message, retry_after=error.retry_after) from error
        raise errors.NotFound(f"The model id {asked.model!r} cannot be found. {error.message}") from error
    return [(label, score) for label, score in item.result]


# usage


@scope("infer")
def used_up() -> ResponseReturnValue:
    """What the tenant has used of the current month, as a list of one plan."""
    limit = tools().settings.einstein_quota or NO_QUOTA
    tenant = caller().tenant
    used = usage.used(tools(), tenant, METER)
    start, end = usage.month(tools().now())
    plan = {
        "id": f"{datetime.fromtimestamp(start, UTC):%Y-%m}",
        "organizationId": tenant,
        "startsAt": _time(start),
        "endsAt": _time(end),
        "planData": [{"plan": "INFERQ", "amount": 1, "source": "INFERQ"}],
        "licenseId": tenant,
        "object": "apiusage",
        "predictionsRemaining": max(0, limit - used),
        "predictionsUsed": used,
        "predictionsMax": limit,
    }
    return jsonify(object="list", data=[plan])


def _time(when: float) -> str:
    """Such as `2017-02-17T00:22:10.000+0000`."""
    return f"{datetime.fromtimestamp(when, UTC):%Y-%m-%dT%H:%M:%S}.000+0000"


# complaining


def write_error(error: InferqError) -> ResponseReturnValue:
    """One sentence, JSON always."""
    return jsonify(message=_words(error)), error.status


def _words(error: InferqError) -> str:
    if isinstance(error, errors.Unauthorized) and not request.path.endswith(TOKEN_PATH):
        scheme = request.headers.get("Authorization", "").strip().partition(" ")[0].lower()
        presented = scheme in ("", "bearer", "bearer:") and any(auth.credentials(request))
        return "Invalid access token" if presented else "Invalid authentication scheme"
    if isinstance(error, (errors.BadPicture, errors.BadBase64)):
        return f"Bad Request: {error.message}"
    return error.message


# describing


def openapi(settings: Settings) -> describing.Part:
    """The calls, once for each generation."""
    about = "Einstein Vision's calls for predictions and accounts. The same calls are below `/v2` and `/v1`."
    paths: dict[str, Any] = {}
    for prefix in GENERATIONS:
        generation = prefix.strip("/").upper()
        paths[f"{prefix}{TOKEN_PATH}"] = {"post": _token_call(generation)}
        paths[f"{prefix}{PREDICT_PATH}"] = {"post": _predict_call(generation)}
        paths[f"{prefix}{USAGE_PATH}"] = {"get": _usage_call(generation)}
    return {
        "tags": [{"name": "Einstein Vision", "description": about}],
        "paths": paths,
        "components": {"schemas": _SCHEMAS},
    }


def _token_call(generation: str) -> describing.Part:
    form = thing(
        {
            "grant_type": text(enum=[BY_ASSERTION, BY_REFRESH], default=BY_ASSERTION),
            "assertion": text("JWT, RS256: `sub` is the account, `aud` the URL of this call, `exp` Unix seconds."),
            "scope": text("`offline` asks for a refresh token as well."),
            "refresh_token": text("In place of an assertion."),
            "valid_for": whole("Seconds, with a refresh token; a day at most."),
        },
        required=("grant_type",),
    )
    given = describing.answer("The token.", describing.ref("EinsteinToken"))
    return describing.call(
        f"einsteinToken{generation}", "Get an access token",
        "For an assertion signed with the key that belongs to a registered public key (`POST /v1/keys`).",
        {"200": given, "default": _WRONG}, body=describing.body(urlencoded=form),
    )  # fmt: skip


def _predict_call(generation: str) -> describing.Part:
    form = thing(
        {
            "modelId": text(f"A model, an alias, or `{GENERAL}` for the default model.", default=GENERAL),
            "sampleContent": describing.binary("A PNG or JPEG of 5 MB at most. Exactly one of the three."),
            "sampleBase64Content": text("The same in base64."),
            "sampleLocation": text("Its URL.", format="uri"),
            "numResults": whole("Labels.", default=5, minimum=1),
            "sampleId": text("Your own name for it, given back."),
        },
        required=("modelId",),
    )
    left = {
        name: {"description": about, "schema": text()}
        for name, about in (
            ("X-RateLimit-Limit", "Predictions in a month."),
            ("X-RateLimit-Remaining", "What is left of them."),
            ("X-RateLimit-Reset", "When the next month begins (UTC), as `2019-04-01 00:00:00.0`."),
        )
    }
    answered = describing.answer("The labels, best first.", describing.ref("EinsteinPrediction"), headers=left)
    return describing.call(
        f"einsteinPredict{generation}", "Classify a picture", "Waits for the answer.",
        {"200": answered, "default": _WRONG}, body=describing.body(form=form),
    )  # fmt: skip


def _usage_call(generation: str) -> describing.Part:
    listed = thing({"object": text(), "data": several(describing.ref("EinsteinUsage"))}, required=("object", "data"))
    return describing.call(
        f"einsteinUsage{generation}", "What is left of the month", "Predictions of this wire, by calendar month (UTC).",
        {"200": describing.answer("A list of one.", listed), "default": _WRONG},
    )  # fmt: skip


_SCHEMAS = {
    "EinsteinToken": thing(
        {
            "access_token": text(),
            "token_type": text(),
            "expires_in": whole("Seconds."),
            "refresh_token": text("Only where it was asked for."),
        },
        required=("access_token", "token_type", "expires_in"),
    ),
    "EinsteinPrediction": thing(
        {
            "probabilities": several(thing({"label": text(), "probability": number()})),
            "sampleId": text("Only where it was sent."),
            "object": text(),
        },
        required=("probabilities", "object"),
    ),
    "EinsteinUsage": thing(
        {
            "id": text(),
            "organizationId": text(),
            "startsAt": text(),
            "endsAt": text(),
            "planData": several(thing({"plan": text(), "amount": whole(), "source": text()})),
            "licenseId": text(),
            "object": text(),
            "predictionsRemaining": whole(),
            "predictionsUsed": whole(),
            "predictionsMax": whole(),
        }
    ),
    "EinsteinError": thing({"message": text("What is wrong, and what to do.")}, required=("message",)),
}
_WRONG = describing.answer("What is wrong.", describing.ref("EinsteinError"))
