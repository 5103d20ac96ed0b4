"""JSON Schemas of the native wire's answers; the answers are made in native/serializers/jobs_and_models.py."""

from __future__ import annotations

from api.openapi_builder import Schema, flag, number, ref, several, text, thing, whole
from shared.domain.jobs import FUNCTIONS, PRIORITIES, TASKS, Status
from shared.domain.keys import SCOPES, STAGES
from shared.domain.models import ModelState
from shared.domain.preprocessing import CROP_MODES, INTERPOLATIONS, MODES, Origin
from shared.services.default_models import Origin as DefaultOrigin


def moment(description: str = "") -> Schema:
    """Return the schema of a time, which is null until it is reached."""
    return {"type": ["string", "null"], "format": "date-time", "description": description or "ISO 8601, UTC."}


METHODS = ("head", "fine-tuned", "scratch")
"""The training methods of a version."""
OPTIONS: dict[str, Schema] = {
    "model": text("The model; the default one where none is named.", examples=["resnet50"]),
    "version": text("Its version; the model's default where none is named."),
    "task": text("`classify` gives labels with scores, `features` the input of the model's last layer.",
                 enum=list(TASKS), default="classify"),
    "top_k": whole("How many labels per picture.", default=5, minimum=1),
    "function_to_apply": text("How logits become scores; `none` leaves them as they are.",
                              enum=list(FUNCTIONS), default="softmax"),
    "exif": flag("Turn the picture the way its EXIF orientation says.", default=True),
    "priority": text("Which pictures go first.", enum=list(PRIORITIES), default="normal"),
    "deadline": text("Seconds from now, or a time in ISO 8601, after which the answer is of no use: the job expires."),
    "webhook": text("A URL that is told when the job has ended. In JSON also an object with `url` and `secret`."),
    "metadata": text("A JSON object of your own, given back with the job."),
}  # fmt: skip
"""The parameters of a job, in form fields, in the query or in JSON."""

INPUT = thing(
    {
        "url": text("A public address of the picture.", format="uri"),
        "base64": text("The picture itself, with or without a data-URI prefix."),
        "image_id": text("A picture that was kept with `POST /v1/images/upload`, or with `POST /v1/images`."),
        "name": text("What to call it in the answer."),
    },
    description="Exactly one of `url`, `base64` and `image_id`.",
)

_LABEL = thing({"label": text(), "score": number()}, required=("label", "score"))
_PREDICTION = thing(
    {
        "name": text("The name of the file."),
        "results": several(ref("Label"), "Best first; for `classify`."),
        "featureVectors": several(number(), "For `features`."),
        "error": thing({"code": text(), "message": text()}, description="Why this picture has no answer."),
        "status": text("Where it stands, when the job ended before it was run."),
    },
    required=("name",),
)
_PROGRESS = thing({"total": whole(), "done": whole(), "failed": whole()}, required=("total", "done", "failed"))

_SUMMARY: dict[str, Schema] = {
    "_id": text("Ids sort by time (UUIDv7)."),
    "status": text(enum=list(Status)),
    "terminal": flag("Nothing will change any more. Look at this instead of knowing the list of statuses."),
    "tenantName": text(),
    "wire": text("The wire by which it was sent.", examples=["native"]),
    "model": thing({"name": text(), "version": text()}),
    "priority": text(enum=list(PRIORITIES)),
    "created_at": moment(),
    "started_at": moment(),
    "finished_at": moment(),
    "processed_time": {"type": ["string", "null"], "description": "`finished_at` in the format of HTTP dates."},
    "deadline": moment(),
    "metadata": thing({}),
    "progress": ref("Progress"),
    "links": thing({"self": text(), "results": text(), "events": text()}),
    "error": text("A code for programs; when the job has FAILED or EXPIRED."),
    "error_description": text("The same for people."),
}
_ALWAYS = ("_id", "status", "terminal", "model", "progress", "links")
_JOB = thing(
    _SUMMARY
    | {
        "request": thing({"files": several(text()), "options": thing({}), "texts": several(text()),
                          "tenantName": text()}),
        "predictions": several(ref("Prediction"), "The first 1,000; all of them are at `links.results`."),
    },
    required=(*_ALWAYS, "predictions"),
)  # fmt: skip
ENGINE: Schema = {"type": ["string", "null"], "description": "What the living workers run it with; null without them."}
_VERSION = thing(
    {
        "name": text("The model that it is a version of."),
        "version": text(),
        "state": text("Only `ready` serves.", enum=list(ModelState)),
        "reason": text("Why it is not ready, or how far it is."),
        "family": text("The library that the architecture is of; empty until a worker has looked."),
        "architecture": text(),
        "labels": whole("How many."),
        "checksum": text("SHA-256 of the weights, hex."),
        "preprocessing": {**ref("Preprocessing"), "description": "How pictures are prepared; null until it is known."},
        "preset": {**ref("Preset"), "description": "Where that is known from; null if it was trained here."},
        "created_at": moment(),
        "metrics": thing({}),
        "training": {"type": ["string", "null"], "description": "The training that made it; null for one brought."},
        "accuracy": {"type": ["number", "null"], "description": "On the test pictures of that training."},
        "method": {"type": ["string", "null"], "description": "How it was trained.", "enum": [*METHODS, None]},
        "withheld": flag("Trained for a wire on which it does not answer before it is deployed there."),
        "canary": number("Share of the requests naming no version that it answers without being the default."),
    },
    required=("name", "version", "state"),
)
_MODEL = thing(
    {
        "name": text(),
        "default_version": text("Answers requests that name the model but no version."),
        "is_default": flag("Answers requests that name no model."),
        "shared": flag("Everybody's, from the catalogue."),
        "aliases": several(text(), "Other names that it answers to, on every wire."),
        "label_names": several(text(), "Of the default version, in the order of the logits; for one model only."),
        "engine": ENGINE,
        "versions": several(ref("Version"), "Oldest first."),
    },
    required=("name", "versions"),
)
_NUMBERS = several(number(), "One per channel, of values scaled to 0..1.")
_PREPROCESSING: Schema = thing(
    {
        "resize": whole("Pixels of the shorter side after resizing."),
        "crop": whole("Pixels of the side of the central square that is kept."),
        "mean": _NUMBERS,
        "std": _NUMBERS,
        "interpolation": text(enum=list(INTERPOLATIONS)),
        "mode": text(enum=list(MODES)),
        "crop_mode": text("`squash` resizes both sides, `border` the longer one.", enum=list(CROP_MODES)),
    },
    required=("resize", "crop", "mean", "std"),
) | {"type": ["object", "null"]}
_PRESET: Schema = thing(
    {
        "name": text("Empty where all values were given.", examples=["IMAGENET1K_V1"]),
        "origin": text("`assumed`: the import named none. `recognised`: by the checksum of the file.",
                       enum=list(Origin)),
        "available": several(text(), "The presets of the architecture."),
        "changed": several(text(), "The values that the import gave in place of the preset's."),
    },
    required=("name", "origin", "available"),
) | {"type": ["object", "null"]}  # fmt: skip
_DEFAULT_MODEL = thing(
    {
        "model": text("Answers requests that name no model."),
        "origin": text(
            "Who has chosen it: the `tenant`, the `setting`, or the `service`, where it comes with inferq.",
            enum=list(DefaultOrigin),
        ),
    },
    required=("model", "origin"),
)
_ALIAS = thing(
    {
        "alias": text(examples=["google/vit-base-patch16-224"]),
        "model": text("The model whose default version answers."),
    },
    required=("alias", "model"),
)
_KEY = thing(
    {
        "id": text(),
        "name": text(),
        "tenant": text(),
        "prefix": text("The first characters, to recognise it by."),
        "scopes": several(text(enum=list(SCOPES))),
        "stage": text(
            "What is uploaded with a key of one stage is not seen with a key of the other.", enum=list(STAGES)
        ),
        "account": text("Who signs assertions with the private key to a registered public one; empty for other keys."),
        "created_at": moment(),
        "revoked_at": moment(),
        "key": text("The key itself: in the answer that makes it, and never again; a public key is not shown."),
    },
    required=("id", "tenant", "prefix", "scopes"),
)
_LANE = thing(
    {
        "model": text(),
        "version": text(),
        "priority": text(enum=list(PRIORITIES)),
        "waiting": whole("Pictures that no worker has claimed."),
        "running": whole("Pictures that a worker holds."),
        "oldest_seconds": number("Age of the oldest unfinished picture."),
    }
)
_TRAINER = thing(
    {"id": text(), "since": moment(), "device": text(), "busy": flag("Whether it trains now.")},
    required=("id", "since", "device", "busy"),
)
_WORKER = thing(
    {
        "id": text(),
        "since": moment(),
        "device": text(examples=["cpu", "cuda"]),
        "models": several({}, "What it keeps in memory."),
        "pictures": whole("How many it has run."),
        "holds": whole("How many it holds now."),
    }
)
_PROBLEM = thing(
    {
        "type": text(examples=["urn:inferq:error:not_a_picture"]),
        "title": text("What kind of problem it is."),
        "status": whole(),
        "detail": text("What is wrong here, and what to do."),
        "code": text("The same for programs; it does not change.", examples=["not_a_picture"]),
        "_id": text("The job that failed by it, where there is one."),
        "links": thing({"job": text()}),
    },
    required=("type", "title", "status", "detail", "code"),
    description="A problem document (RFC 9457).",
)

SCHEMAS: dict[str, Schema] = {
    "Job": _JOB,
    "JobSummary": thing(_SUMMARY, required=_ALWAYS, description="A job without its request and predictions."),
    "Prediction": _PREDICTION,
    "Label": _LABEL,
    "Progress": _PROGRESS,
    "Model": _MODEL,
    "Version": _VERSION,
    "Preprocessing": _PREPROCESSING,
    "Preset": _PRESET,
    "DefaultModel": _DEFAULT_MODEL,
    "Alias": _ALIAS,
    "Key": _KEY,
    "Lane": _LANE,
    "Worker": _WORKER,
    "Trainer": _TRAINER,
    "Problem": _PROBLEM,
}
