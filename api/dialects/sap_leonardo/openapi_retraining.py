"""The retraining calls of this wire in the OpenAPI document."""

from __future__ import annotations

from api import openapi_builder
from api.dialects.sap_leonardo.services import RETRAINING
from api.openapi_builder import Part, Schema, empty, flag, number, ref, response, several, text, thing, whole


def paths() -> Part:
    """Return the calls on the store, jobs, models and deployments."""
    return {f"{RETRAINING}{path}": calls for path, calls in (_store() | _jobs() | _models() | _deployments()).items()}


def _store() -> Part:
    words = (
        "The store in whose bucket `data` a folder `DATASET/training/LABEL/picture.jpg` (and `validation`, `test` "
        "beside `training`) is a dataset. There is one key for it, so only the tenant `default` is told; 404 or 403 "
        "tell the others to make their datasets by the native API: `POST /v1/datasets`."
    )
    found = {"200": response("Address and key, for an S3 client.", ref("SapStore"))}
    return {
        "/storage": {
            "get": _call("get_store", "Where datasets can be put", words, found),
            "post": _call("post_store", "Where datasets can be put", words, found),
        }
    }


def _jobs() -> Part:
    submitted = (
        "Trains a version of `modelName` on a dataset: the newest of that name made by the native API, else, for the "
        "tenant `default`, the folder of that name in the store. A trainer copies the folder while the job is "
        "PENDING, and the copy is a dataset from then on: delete that, `DELETE /v1/datasets/{name}`, to have a changed "
        "folder read again. The version is served here once it is deployed. An older form, "
        '`{"mode": "image", "options": {…}}` with the same values inside, is taken too.'
    )
    removed = (
        "Cancels a job that has not ended, and takes one that has off the list. A training that has made a version is "
        "its evidence: the native API still shows it."
    )
    name = openapi_builder.path("name", "The id of the job.")
    asked = openapi_builder.body(json=_ASKED, example={"dataset": "mugs", "modelName": "mugs", "maxEpochs": 150})
    accepted = {"202": response("The job; `Location` is where to poll.", ref("SapRetraining"))}
    listed = {"200": response("The newest 500, newest first.", _list("jobs", "SapRetraining"))}
    shown = {"200": response("The job as it is; look at `status`.", ref("SapRetraining"))}
    return {
        "/jobs": {
            "post": _call("submit_training", "Train a model", submitted, accepted, body=asked),
            "get": _call("trainings", "List the jobs", "Trainings that came by this wire.", listed),
        },
        "/jobs/{name}": {
            "get": _call("training", "Poll a job", "A training that came by this wire.", shown, [name]),
            "delete": _call("remove_training", "Cancel or remove a job", removed, {"204": empty("Done.")}, [name]),
        },
    }


def _models() -> Part:
    words = "Your own, with their versions that are ready, whatever wire they came by; deployed or not."
    one = thing({"versions": several(ref("SapModelVersion"))}, required=["versions"])
    all_of_them = {"200": response("The models.", thing({"models": several(one)}, required=["models"]))}
    of_one = {"200": response("Oldest first.", _list("versions", "SapModelVersion"))}
    name = openapi_builder.path("name", "The model.")
    return {
        "/models": {"get": _call("models", "List the models", words, all_of_them)},
        "/models/{name}/versions": {"get": _call("versions", "List the versions of a model", words, of_one, [name])},
    }


def _deployments() -> Part:
    deployed = (
        "The version answers from now on below `…/models/{name}/versions/{version}`. Sent again, it changes nothing."
    )
    listed = (
        "Versions that answer on this wire: those that were deployed, and those that were brought, promoted, or "
        "trained by other means."
    )
    undeployed = "The version no longer answers on this wire; on the others it does as before."
    found = {"200": response("The deployment.", ref("SapDeployment"))}
    each = openapi_builder.path("version_id", "The id of the deployment.")
    return {
        "/deployments": {
            "get": _call(
                "deployments",
                "List the deployments",
                listed,
                {"200": response("All of them.", _list("deployments", "SapDeployment"))},
            ),
            "post": _call(
                "deploy",
                "Deploy a version",
                deployed,
                found,
                body=openapi_builder.body(json=_TO_DEPLOY, example={"modelName": "mugs", "modelVersion": "1"}),
            ),
        },
        "/deployments/{version_id}": {
            "delete": _call("undeploy", "Take a version back", undeployed, {"204": empty("Done.")}, [each])
        },
    }


def _call(name: str, summary: str, words: str, answers: Part, parameters: list[Part] | None = None,
          body: Part | None = None) -> Part:  # fmt: skip
    complaint: Schema = {"oneOf": [ref("SapErrorV2"), ref("SapFault")]}
    given = answers | {"default": response("What is wrong; `fault` where the gateway says it.", complaint)}
    return openapi_builder.call(f"sap_retraining_{name}", summary, words, given, parameters=parameters or [], body=body)


def _list(name: str, schema: str) -> Schema:
    return thing({name: several(ref(schema))}, required=[name])


def _from(low: int, high: int, default: int, description: str) -> Schema:
    return whole(description, minimum=low, maximum=high, default=default)


_ASKED = thing(
    {
        "dataset": text("Its name."),
        "modelName": text("One that there is already gets another version."),
        "batchSize": _from(1, 1024, 64, "Pictures per step."),
        "learningRate": number("Of the optimiser.", exclusiveMinimum=0, exclusiveMaximum=1, default=0.001),
        "maxEpochs": _from(1, 10_000, 150, "At most."),
        "maxUnimprovedEpochs": _from(1, 10_000, 15, "Without improvement, after which it is enough."),
        "completionTime": _from(1, 168, 24, "Hours, after which it stops with the best it has."),
        "memory": _from(8192, 32768, 8192, "MB; it has no effect, a trainer has what its machine has."),
        "generateTfSummaries": flag("It has no effect: the native API shows the learning curve."),
    },
    required=["dataset", "modelName"],
)
_TO_DEPLOY = thing({"modelName": text(), "modelVersion": text()}, required=["modelName", "modelVersion"])
_TIME = "In UTC; `0001-01-01T00:00:00.000Z` is not yet."
_MADE = "In UTC."
SCHEMAS = {
    "SapStore": thing(
        {"endpoint": text(), "accessKey": text(), "secretKey": text()}, required=["endpoint", "accessKey", "secretKey"]
    ),
    "SapRetraining": thing(
        {
            "id": text("The dataset and the time."),
            "status": text(enum=["PENDING", "RUNNING", "SUCCEEDED", "FAILED"]),
            "submissionTime": text(_TIME),
            "startTime": text(_TIME),
            "finishTime": text(_TIME),
            "modelName": text(),
            "modelVersion": text("What it has made, when it has SUCCEEDED."),
            "message": text("What it is doing, or why it has FAILED."),
        },
        required=["id", "status", "submissionTime", "startTime", "finishTime", "modelName", "message"],
    ),
    "SapModelVersion": thing(
        {
            "modelName": text(),
            "version": text("`1` is the first."),
            "createdAt": text(_MADE),
            "updatedAt": text(_MADE),
            "checksum": text("SHA-256 of the weights, hex."),
            "labels": several(text(), "In the order of the logits."),
            "deployed": flag("Whether it answers on this wire."),
            "accuracy": number("On the test pictures, 0 to 1; where it was trained here."),
        },
        required=["modelName", "version", "createdAt", "updatedAt", "checksum", "labels", "deployed"],
    ),
    "SapDeployment": thing(
        {
            "id": text(),
            "modelName": text(),
            "modelVersion": text(),
            "status": thing(
                {"state": text(enum=["PENDING", "SUCCEEDED"]), "description": text()}, required=["state", "description"]
            ),
        },
        required=["id", "modelName", "modelVersion", "status"],
    ),
}
