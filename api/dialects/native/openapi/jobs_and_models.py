"""The OpenAPI document of the native wire, written by hand: the parameters and the answers of each call."""

from __future__ import annotations

from api import openapi_builder
from api.dialects.native.openapi import datasets_and_trainings
from api.dialects.native.openapi.parts import GONE, PAGING, PROBLEM, WAIT, call, page
from api.dialects.native.openapi.schemas import INPUT, OPTIONS, SCHEMAS
from api.dialects.native.openapi.training_schemas import TRAINING_SCHEMAS
from api.openapi_builder import Part, binary, header, number, path, query, ref, response, several, text, thing, whole
from shared.domain.jobs import Status
from shared.domain.keys import SCOPES, STAGES
from shared.domain.preprocessing import INTERPOLATIONS, MAX_SIDE
from shared.settings import Settings

_FORMATS = "One picture, several, or one flat archive (zip, tar, tar.gz) of pictures. Bytes decide what a file is."


def openapi(settings: Settings) -> Part:
    """Return the tags, paths and components of this wire."""
    return {
        "tags": [
            {"name": "Jobs", "description": "Send pictures, follow them, fetch the answers."},
            *datasets_and_trainings.TAGS,
            {"name": "Models", "description": "What there is, and how to bring your own."},
            {"name": "Keys", "description": "Who may use the service. Needs the scope `keys`."},
            {"name": "Fleet", "description": "What waits, and who works."},
        ],
        "paths": _jobs() | datasets_and_trainings.paths() | _models() | _keys() | _fleet(),
        "components": {"schemas": SCHEMAS | TRAINING_SCHEMAS},
    }


def _jobs() -> Part:
    job = path("job_id", "The `_id` of the job.")
    found = {"200": response("The job.", ref("Job")), "default": PROBLEM}
    waited = {
        "200": response("The job, ended within the wait.", ref("Job")),
        "202": response("The job, not ended yet. `Location` is where to poll, `Retry-After` when.", ref("Job")),
        "default": PROBLEM,
    }
    once = header("Idempotency-Key", "Sent again with the same key, the same request gives the same job.")
    wrong = thing(
        {"label": text("What it really shows: the name of a label of the dataset."),
         "position": whole("Which picture of the job; 0 is the first.", default=0, minimum=0),
         "dataset": text("Id or name; the one that the model was trained on where none is named.")},
        required=("label",),
    )  # fmt: skip
    return {
        "/v1/classify": {
            "post": call("Jobs", "classify", "Classify pictures and wait for the answer",
                         "The same as `POST /v1/jobs`, but it waits. A wait that runs out answers 202 with the job, "
                         "so that the id is never lost. When no picture could be read, the error of the first one is "
                         "the answer.",
                         [WAIT, once], waited, _pictures()),
        },
        "/v1/jobs": {
            "post": call("Jobs", "submitJob", "Submit pictures as a job",
                         "Accepted means answered: the job is stored before 202 is sent.",
                         [WAIT, once], waited, _pictures()),
            "get": call("Jobs", "listJobs", "List jobs", "Newest first, in pages.",
                        [query("status", text(enum=list(Status))), query("model", text()),
                         query("since", number("Unix seconds; jobs made then or later.")),
                         query("until", number("Unix seconds; jobs made before.")), *PAGING],
                        {"200": response("A page.", page("jobs", "JobSummary")), "default": PROBLEM}),
        },
        "/v1/jobs/{job_id}": {
            "get": call("Jobs", "getJob", "Poll a job", "Or wait for it, with `Prefer: wait=N`.",
                        [job, WAIT, header("If-None-Match", "The `ETag` of the answer before.")],
                        found | {"304": {"description": "Nothing has moved since the `ETag` you have."}}),
            "delete": call("Jobs", "cancelJob", "Cancel a job",
                           "What runs at this moment is finished, the rest is not begun. 409 when it has ended.",
                           [job], found),
        },
        "/v1/jobs/{job_id}/results": {
            "get": call("Jobs", "getResults", "Stream the results", "One line per picture; made for archives of "
                        "thousands.", [job, query("format", text(enum=["ndjson", "csv"], default="ndjson"))],
                        {"200": {"description": "One prediction per line.",
                                 "content": {"application/x-ndjson": {}, "text/csv": {}}}, "default": PROBLEM}),
        },
        "/v1/jobs/{job_id}/feedback": {
            "post": call("Jobs", "correctJob", "Correct a prediction",
                         "The picture becomes an example of the dataset, for the next training to learn from.", [job],
                         {"201": response("The example.", ref("Example")), "default": PROBLEM},
                         openapi_builder.body(json=wrong, example={"label": "duck"})),
        },
        "/v1/jobs/{job_id}/events": {
            "get": call("Jobs", "followJob", "Follow a job",
                        "Server-sent events: `status` and `progress` as it moves, `done` at the end.", [job],
                        {"200": {"description": "Events; the data of each is a job without its predictions.",
                                 "content": {"text/event-stream": {}}}, "default": PROBLEM}),
        },
    }  # fmt: skip


def _pictures() -> Part:
    """Return the request body of a submission, in its three forms."""
    form = thing({"files": several(binary(), _FORMATS), **OPTIONS}, required=("files",))
    webhook = {"description": OPTIONS["webhook"]["description"], "anyOf": [
        text(format="uri"), thing({"url": text(format="uri"), "secret": text()}, required=("url",))]}  # fmt: skip
    changed = {"webhook": webhook, "metadata": thing({}, description="Your own words, given back with the job.")}
    inputs = {"inputs": several(INPUT, "The pictures.", minItems=1)}
    example = {"inputs": [{"url": "https://example.org/duck.jpg"}], "top_k": 3}
    whole_body = thing(inputs | OPTIONS | changed, required=("inputs",))
    raw = binary(f"{_FORMATS} Options go into the query.")
    return openapi_builder.body(form=form, json=whole_body, raw=raw, example=example)


def _models() -> Part:
    name, version = path("name", "The model."), path("version", "Its version; `1` is the first.")
    alias = path("alias", "A name, or OWNER/NAME, such as `google/vit-base-patch16-224`.")
    stands, vit = thing({"model": text("The model.")}, required=("model",)), {"model": "vit"}
    versions = thing({"versions": several(ref("Version"), "Oldest first.")}, required=("versions",))
    known = {
        "name": text("What to call it.", examples=["mobilenet_v2"]),
        "architecture": text("Of torchvision or timm (`timm/NAME` where both have it); the name where none is given."),
        "version": text("The next number where none is given."),
        "labels": text("One per line, in the order of the logits; `imagenet`, or nothing, for the published ones."),
        "preprocessing": text(
            "A preset (`IMAGENET1K_V1`, or another architecture's `ResNet18_Weights.IMAGENET1K_V1`), "
            "or an object of values as JSON. Left out, the file is recognised by its checksum, or "
            "the architecture's newest preset is assumed, which the answer says."
        ),
        "resize": whole("Pixels of the shorter side, in place of the preset's.", minimum=1, maximum=MAX_SIDE),
        "crop": whole("Pixels of the central square, in place of the preset's.", minimum=1, maximum=MAX_SIDE),
        "mean": text("One number, or three separated by commas, in place of the preset's.", examples=["0.5,0.5,0.5"]),
        "std": text("One number, or three separated by commas, in place of the preset's."),
        "interpolation": text("In place of the preset's.", enum=list(INTERPOLATIONS)),
    }
    default = {"200": response("The default model.", ref("DefaultModel")), "default": PROBLEM}
    form = thing(known | {"weights": {**binary(), "description": "`.safetensors`, or `.pth` with tensors only."}},
                 required=("name",))  # fmt: skip
    body = {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": form},
            "application/json": {"schema": thing(known, required=("name",)), "example": {"name": "mobilenet_v2"}},
        },
    }
    added = {
        "201": response("It is ready: a worker has loaded it and reproduced its example.", ref("Version")),
        "202": response("It is still being fetched or checked; look again.", ref("Version")),
        "default": PROBLEM,
    }
    return {
        "/v1/models": {
            "get": call("Models", "listModels", "List models", "With their versions.", [],
                        {"200": response("The models.", thing({"models": several(ref("Model"))}, required=("models",))),
                         "default": PROBLEM}),
            "post": call("Models", "addModel", "Add a model",
                         "From your weights, or from the published weights of an architecture. What is refused leaves "
                         "nothing behind. Needs the scope `models`.", [], added, body),
        },
        "/v1/models/{name}": {
            "get": call("Models", "getModel", "Look at a model", "With its versions.", [name],
                        {"200": response("The model.", ref("Model")), "default": PROBLEM}),
            "delete": call("Models", "removeModel", "Remove a model", "With all versions. Needs the scope `models`.",
                           [name], GONE),
        },
        "/v1/default-model": {
            "get": call("Models", "getDefaultModel", "Look at the default model", "It answers requests that name none.",
                        [], default),
            "put": call("Models", "chooseDefaultModel", "Choose the default model",
                        "For your tenant's requests that name none, on every wire. Needs the scope `models`.", [],
                        default, openapi_builder.body(json=stands, example=vit)),
            "delete": call("Models", "resetDefaultModel", "Take the choice back",
                           "The service's default answers again. Needs the scope `models`.", [], default),
        },
        "/v1/aliases": {
            "get": call("Models", "listAliases", "List aliases", "Other names for models, which every wire knows.", [],
                        {"200": response("By name.", thing({"aliases": several(ref("Alias"))}, required=("aliases",))),
                         "default": PROBLEM}),
        },
        "/v1/aliases/{alias}": {
            "put": call("Models", "setAlias", "Let an alias stand for a model",
                        "Whatever it stood for before. Needs the scope `models`.", [alias],
                        {"200": response("It stood for a model before.", ref("Alias")),
                         "201": response("It is new.", ref("Alias")), "default": PROBLEM},
                        openapi_builder.body(json=stands, example=vit)),
            "delete": call("Models", "removeAlias", "Remove an alias", "The model stays. Needs the scope `models`.",
                           [alias], GONE),
        },
        "/v1/models/{name}/versions": {
            "get": call("Models", "listVersions", "List the versions of a model", "With a summary of their evidence.",
                        [name], {"200": response("The versions.", versions), "default": PROBLEM}),
        },
        "/v1/models/{name}/versions/{version}": {
            "get": call("Models", "getVersion", "Look at a version", "With its labels and its evidence.",
                       [name, version],
                        {"200": response("The version.", ref("WholeVersion")), "default": PROBLEM}),
            "delete": call("Models", "removeVersion", "Remove a version",
                           "409 for the default while another could answer in its place: promote that one first. Needs "
                           "the scope `models`.", [name, version], GONE),
        },
    }  # fmt: skip


def _keys() -> Part:
    asked = thing(
        {
            "name": text("What the key is for."),
            "tenant": text("Whose it is; your own tenant where none is named."),
            "scopes": several(text(enum=list(SCOPES)), "What it may do; without: `infer` and `models`."),
            "stage": text("What the key begins with, and whose images it sees.", enum=list(STAGES)),
            "public_key": text("Instead of making a key: the RSA public key, or certificate, of `account` in PEM."),
            "account": text("The `sub` of the assertions that are signed with its private key.", format="email"),
        }
    )
    example = {"name": "owner", "scopes": list(SCOPES)}
    return {
        "/v1/keys": {
            "get": call("Keys", "listKeys", "List keys", "Without what must stay secret.", [],
                        {"200": response("The keys.", thing({"keys": several(ref("Key"))}, required=("keys",))),
                         "default": PROBLEM}),
            "post": call("Keys", "createKey", "Create a key",
                         "Its text is in this answer and nowhere else. The first key closes the open door of "
                         "loopback, so it needs the scope `keys`. With `public_key` there is no text: who has the "
                         "private key exchanges assertions signed with it for tokens.", [],
                         {"201": response("The key, with its text in `key`.", ref("Key")), "default": PROBLEM},
                         openapi_builder.body(json=asked, example=example)),
        },
        "/v1/keys/{key_id}": {
            "delete": call("Keys", "revokeKey", "Revoke a key", "At once.",
                           [path("key_id", "The `id` of the key.")], GONE),
        },
    }  # fmt: skip


def _fleet() -> Part:
    queue = thing({"queue": several(ref("Lane")), "waiting": whole(), "running": whole()}, required=("queue",))
    workers = thing(
        {"workers": several(ref("Worker")), "trainers": several(ref("Trainer"))}, required=("workers", "trainers")
    )
    return {
        "/v1/queue": {"get": call("Fleet", "getQueue", "What waits", "Per model, version and priority.", [],
                                  {"200": response("The queue.", queue), "default": PROBLEM})},
        "/v1/workers": {"get": call("Fleet", "listWorkers", "Who works", "Workers and trainers that are alive.", [],
                                    {"200": response("The workers and trainers.", workers), "default": PROBLEM})},
    }  # fmt: skip
