"""The retraining calls of this wire in the OpenAPI document."""

from __future__ import annotations

from api import openapi_builder
from api.dialects.sap_leonardo.services import RETRAINING
from api.openapi_builder import Part, Schema, empty, flag, number, ref, response, several, text, thing, whole


def paths() -> Part:
    """Return the calls on the store, jobs, models and deployments."""
    return {f"{RETRAINING}{path}": calls for path, calls in (_store() | _jobs() | _models() | _deployments()).items()}


def _store() -> Part:
    description = (
        "The store in whose bucket `data` a folder `DATASET/training/LABEL/picture.jpg` (and `validation`, `test` "
        "beside `training`) is a dataset. The store has one key, so only the tenant `default` gets it; 404 or 403 "
        "refer the others to the native API: `POST /v1/datasets`."
    )
    responses = {"200": response("Address and key, for an S3 client.", ref("SapStore"))}
    return {
        "/storage": {
            "get": _call("get_store", "Get the address of the dataset store", description, responses),
            "post": _call("post_store", "Get the address of the dataset store", description, responses),
        }
    }


def _jobs() -> Part:
    submitted = (
        "Trains a version of `modelName` on a dataset: the newest of that name made by the native API, else, for the "
        "tenant `default`, the folder of that name in the store. A trainer copies the folder while the job is "
        "PENDING, and the copy is a dataset from then on: delete the copy, `DELETE /v1/datasets/{name}`, to have a "
        "changed folder read again. The version is served here once it is deployed. An older form, "
        '`{"mode": "image", "options": {…}}` with the same values inside, is accepted too.'
    )
    removed = (
        "Cancels an active job; removes an ended job from the list. A training that made a version holds its evidence, "
        "so the native API still shows it."
    )
    name = openapi_builder.path("name", "The id of the job.")
    body = openapi_builder.body(json=_TRAINING_BODY, example={"dataset": "mugs", "modelName": "mugs", "maxEpochs": 150})
    accepted = {"202": response("The job; poll the URL in `Location`.", ref("SapRetraining"))}
    listed = {"200": response("The newest 500 jobs, newest first.", _list("jobs", "SapRetraining"))}
    shown = {"200": response("The job as it is; see `status`.", ref("SapRetraining"))}
    return {
        "/jobs": {
            "post": _call("submit_training", "Train a model", submitted, accepted, body=body),
            "get": _call("trainings", "List the jobs", "Trainings of this wire.", listed),
        },
        "/jobs/{name}": {
            "get": _call("training", "Poll a job", "A training of this wire.", shown, [name]),
            "delete": _call("remove_training", "Cancel or remove a job", removed, {"204": empty("Done.")}, [name]),
        },
    }


def _models() -> Part:
    description = "Your own models of all wires with their ready versions, deployed or not."
    model = thing({"versions": several(ref("SapModelVersion"))}, required=["versions"])
    all_of_them = {"200": response("The models.", thing({"models": several(model)}, required=["models"]))}
    of_one = {"200": response("Oldest first.", _list("versions", "SapModelVersion"))}
    name = openapi_builder.path("name", "The model.")
    return {
        "/models": {"get": _call("models", "List the models", description, all_of_them)},
        "/models/{name}/versions": {
            "get": _call("versions", "List the versions of a model", description, of_one, [name])
        },
    }


def _deployments() -> Part:
    deployed = (
        "The version answers from now on below `…/models/{name}/versions/{version}`. A repeated call changes nothing."
    )
    listed = (
        "Versions that answer on this wire: those that were deployed, and those that were imported, promoted, or "
        "trained on another wire."
    )
    undeployed = "The version no longer answers on this wire; on other wires nothing changes."
    deployment = {"200": response("The deployment.", ref("SapDeployment"))}
    deployment_id = openapi_builder.path("version_id", "The id of the deployment.")
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
                deployment,
                body=openapi_builder.body(json=_TO_DEPLOY, example={"modelName": "mugs", "modelVersion": "1"}),
            ),
        },
        "/deployments/{version_id}": {
            "delete": _call("undeploy", "Undeploy a version", undeployed, {"204": empty("Done.")}, [deployment_id])
        },
    }


def _call(name: str, summary: str, description: str, answers: Part, parameters: list[Part] | None = None,
          body: Part | None = None) -> Part:  # fmt: skip
    complaint: Schema = {"oneOf": [ref("SapErrorV2"), ref("SapFault")]}
    responses = answers | {"default": response("The error; `fault` if the gateway refused the request.", complaint)}
    return openapi_builder.call(
        f"sap_retraining_{name}", summary, description, responses, parameters=parameters or [], body=body
    )


def _list(name: str, schema: str) -> Schema:
    return thing({name: several(ref(schema))}, required=[name])


def _from(low: int, high: int, default: int, description: str) -> Schema:
    return whole(description, minimum=low, maximum=high, default=default)


_TRAINING_BODY = thing(
    {
        "dataset": text("Name of the dataset."),
        "modelName": text("Name of the model; an existing model gets another version."),
        "batchSize": _from(1, 1024, 64, "Pictures per step."),
        "learningRate": number("Of the optimiser.", exclusiveMinimum=0, exclusiveMaximum=1, default=0.001),
        "maxEpochs": _from(1, 10_000, 150, "At most."),
        "maxUnimprovedEpochs": _from(1, 10_000, 15, "Epochs without improvement after which the training stops."),
        "completionTime": _from(1, 168, 24, "Hours, after which the training stops with the best epoch so far."),
        "memory": _from(8192, 32768, 8192, "MB; no effect, as a trainer has the memory of its machine."),
        "generateTfSummaries": flag("No effect: the native API shows the learning curve."),
    },
    required=["dataset", "modelName"],
)
_TO_DEPLOY = thing({"modelName": text(), "modelVersion": text()}, required=["modelName", "modelVersion"])
_TIME = "In UTC; `0001-01-01T00:00:00.000Z` means not yet."
_CREATED = "In UTC."
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
            "modelVersion": text("The version that it made, once it has SUCCEEDED."),
            "message": text("Its current step, or why it has FAILED."),
        },
        required=["id", "status", "submissionTime", "startTime", "finishTime", "modelName", "message"],
    ),
    "SapModelVersion": thing(
        {
            "modelName": text(),
            "version": text("`1` is the first."),
            "createdAt": text(_CREATED),
            "updatedAt": text(_CREATED),
            "checksum": text("SHA-256 of the weights, hex."),
            "labels": several(text(), "In the order of the logits."),
            "deployed": flag("Whether it answers on this wire."),
            "accuracy": number("On the test pictures, 0 to 1; only of versions that were trained here."),
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
