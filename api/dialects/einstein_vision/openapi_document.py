"""This wire's part of the OpenAPI document: the same calls below the prefix of each generation."""

from __future__ import annotations

from collections.abc import Sequence

from api import openapi_builder
from api.dialects.einstein_vision import accounts, datasets, examples, models, prediction, training
from api.dialects.einstein_vision.common import GENERATIONS, KINDS
from api.dialects.einstein_vision.schemas import SCHEMAS
from api.openapi_builder import Part, Schema, binary, empty, flag, number, path, query, ref, several, text, thing, whole
from shared.settings import Settings

_DATASET, _MODEL = path("dataset_id", "The id of a dataset."), path("model_id", "The id of a model, which is its name.")
_LABEL, _EXAMPLE = path("label_id", "The id of a label."), path("example_id", "The id of an example.")
_WRONG = openapi_builder.response("What is wrong.", ref("EinsteinError"))
_ONE_DATASET = "/vision/datasets/{dataset_id}"
_ONE_LABEL, _ONE_EXAMPLE = f"{_ONE_DATASET}/labels/{{label_id}}", f"{_ONE_DATASET}/examples/{{example_id}}"
_ONE_MODEL = "/vision/models/{model_id}"
_MB = 1024 * 1024


def openapi(settings: Settings) -> Part:
    """Return the tag, paths and components of this wire."""
    about = (
        "Einstein Vision's calls for accounts, predictions, datasets, training and models. The same calls are below "
        "`/v2` and `/v1`. Bodies are `multipart/form-data`."
    )
    calls = _of_accounts() | _of_predictions() | _of_datasets() | _of_examples() | _of_training() | _of_models()
    paths: dict[str, Part] = {}
    for prefix in GENERATIONS:
        for where, call in calls.items():
            method, below = where.split()
            name = call["operationId"] + prefix.strip("/").upper()
            paths.setdefault(f"{prefix}{below}", {})[method.lower()] = call | {"operationId": name}
    return {
        "tags": [{"name": "Einstein Vision", "description": about}],
        "paths": paths,
        "components": {"schemas": SCHEMAS},
    }


# Each function returns `METHOD /path below the generation` -> the call, whose operationId lacks the generation.


def _of_accounts() -> Part:
    form = thing(
        {
            "grant_type": text(enum=[accounts.BY_ASSERTION, accounts.BY_REFRESH], default=accounts.BY_ASSERTION),
            "assertion": text("JWT, RS256: `sub` is the account, `aud` the URL of this call, `exp` Unix seconds."),
            "scope": text("`offline` asks for a refresh token as well."),
            "refresh_token": text("In place of an assertion."),
            "valid_for": whole("Seconds, with a refresh token; a day at most."),
        },
        required=("grant_type",),
    )
    return {
        f"POST {accounts.TOKEN_PATH}": _call(
            "Token",
            "Get an access token",
            "For an assertion signed with the key that belongs to a registered public key (`POST /v1/keys`).",
            openapi_builder.response("The token.", ref("EinsteinToken")),
            body=openapi_builder.body(urlencoded=form),
        ),
        f"GET {accounts.USAGE_PATH}": _call(
            "Usage",
            "Show the used and the remaining predictions",
            "Predictions of this wire, by calendar month (UTC).",
            _list_of("EinsteinUsage", "A list of one."),
        ),
    }


def _of_predictions() -> Part:
    quota_headers = {
        name: {"description": about, "schema": text()}
        for name, about in (
            ("X-RateLimit-Limit", "Predictions in a month."),
            ("X-RateLimit-Remaining", "Predictions that remain in this month."),
            ("X-RateLimit-Reset", "When the next month begins (UTC), as `2019-04-01 00:00:00.0`."),
        )
    }
    general = prediction.GENERAL
    fields = {
        "modelId": text(f"A model, an alias, or `{general}` for the default model.", default=general),
        "sampleContent": binary("A PNG or JPEG of 5 MB at most. Exactly one of the three."),
        "sampleBase64Content": text("The same in base64."),
        "sampleLocation": text("Its URL.", format="uri"),
        "numResults": whole("Number of labels.", default=5, minimum=1),
        "sampleId": text("An id of your own, returned in the answer."),
    }
    return {
        f"POST {prediction.PREDICT_PATH}": _call(
            "Predict",
            "Classify a picture",
            "Waits for the answer.",
            openapi_builder.response("The labels, best first.", ref("EinsteinPrediction"), headers=quota_headers),
            body=_form(fields, "modelId"),
        )
    }


def _of_datasets() -> Part:
    dataset, root = openapi_builder.response("The dataset.", ref("EinsteinDataset")), datasets.DATASETS_PATH
    archive = {
        "data": binary(
            f"A zip of label folders, {datasets.MAX_ARCHIVE // _MB} MB at most. Exactly one of the two.", "pictures.zip"
        ),
        "path": text("Its URL.", format="uri"),
    }
    kind = {"type": text("One label for each picture, or any number.", enum=[*KINDS], default="image")}
    named = {**archive, **kind, "name": text("By default the name of the archive.")}
    return {
        f"POST {root}/upload/sync": _call(
            "UploadSync",
            "Create a dataset, and wait",
            "400 with the reason, and no dataset, if the archive cannot be trained on. If loading takes longer than a "
            "request may wait, it continues: see `available`.",
            dataset,
            body=_form(named),
        ),
        f"POST {root}/upload": _call(
            "Upload",
            "Create a dataset in the background",
            "Poll it until it is `available`, or its `statusMsg` begins with `FAILED: `.",
            dataset,
            body=_form(named),
        ),
        f"POST {root}": _call(
            "CreateDataset",
            "Create an empty dataset",
            "For labels and examples one by one.",
            dataset,
            body=_form({"name": text(), "labels": text("Separated by commas."), **kind}, "name"),
        ),
        f"GET {root}": _call(
            "ListDatasets",
            "List datasets",
            "Newest first.",
            _list_of("EinsteinDataset", "Datasets."),
            *_window(datasets.MOST),
            query("global", flag("Only shared datasets: there are none.")),
        ),
        f"GET {_ONE_DATASET}": _call("Dataset", "Get a dataset", "Its state and its labels.", dataset, _DATASET),
        f"PUT {_ONE_DATASET}/upload": _call(
            "AddUpload",
            "Add pictures",
            "Read in the background; pictures that are there already are left out.",
            dataset,
            _DATASET,
            body=_form(archive),
        ),
        f"DELETE {_ONE_DATASET}": _call(
            "DeleteDataset",
            "Delete a dataset",
            "Delete its models first. Refused while it is loading or being trained on.",
            openapi_builder.response("The queued deletion.", ref("EinsteinDeletion")),
            _DATASET,
        ),
    }


def _of_examples() -> Part:
    example, page = (
        openapi_builder.response("The example.", ref("EinsteinExample")),
        _list_of("EinsteinExample", "Examples."),
    )
    label = openapi_builder.response("The label.", ref("EinsteinLabel"))
    data = binary(f"A PNG or JPEG of {examples.MAX_EXAMPLE // _MB} MB at most.")
    name = text("By default the name of the file.")
    source = text("How the examples were added.", enum=list(examples.SOURCES), default="all")
    window = (*_window(examples.MOST), query("source", source), query("type", text("Another name of `source`.")))
    shown = {"200": {"description": "Its bytes.", "content": {"image/*": {"schema": binary()}}}}
    signed = (query("expires", whole("Unix seconds.")), query("signature", text()))
    first, of_example = "Oldest first.", (_DATASET, _EXAMPLE)
    fields = {
        "name": name,
        "labelId": whole("Required, unless the dataset is multi-label, where it may be repeated."),
        "data": data,
    }
    corrected = {
        "modelId": text(),
        "expectedLabel": text("The right label; for a multi-label model it may be repeated."),
        "data": data,
        "name": name,
    }
    return {
        f"POST {_ONE_DATASET}/labels": _call(
            "AddLabel", "Add a label", "Without examples.", label, _DATASET, body=_form({"name": text()}, "name")
        ),
        f"GET {_ONE_LABEL}": _call("Label", "Get a label", "Its name.", label, _DATASET, _LABEL),
        f"GET {_ONE_LABEL}/examples": _call(
            "ListOfLabel", "List the examples of a label", first, page, _DATASET, _LABEL, *window
        ),
        f"POST {_ONE_DATASET}/examples": _call(
            "AddExample", "Add an example", "One picture.", example, _DATASET, body=_form(fields, "data")
        ),
        f"GET {_ONE_DATASET}/examples": _call("ListExamples", "List examples", first, page, _DATASET, *window),
        f"GET {_ONE_EXAMPLE}": _call("Example", "Get an example", "With the URL of its picture.", example, *of_example),
        f"DELETE {_ONE_EXAMPLE}": _call(
            "DeleteExample",
            "Delete an example",
            "Models that were trained on it stay.",
            {"204": empty("Deleted.")},
            *of_example,
        ),
        f"GET {_ONE_EXAMPLE}/picture": _call(
            "Picture",
            "Download the picture of an example",
            "The URL in `location`; it is valid for 30 minutes and needs no key.",
            shown,
            *of_example,
            *signed,
        ),
        f"POST {examples.FEEDBACK_PATH}": _call(
            "Feedback",
            "Correct a prediction",
            "The picture becomes an example of the dataset that the model was trained on.",
            example,
            body=_form(corrected, "modelId", "expectedLabel", "data"),
        ),
    }


def _of_training() -> Part:
    status = openapi_builder.response("The training.", ref("EinsteinTraining"))
    low, high = training.RATES
    epochs = f"At most. By default {training.FEWEST_EPOCHS} to {training.ENOUGH_EPOCHS}, fewer for more pictures."
    how = {
        "epochs": whole(epochs, minimum=1, maximum=training.MOST_EPOCHS),
        "learningRate": number(minimum=low, maximum=high, default=low),
        "trainParams": text("JSON: `trainSplitRatio` (0.9), `withFeedback` (false)."),
    }
    named = {"name": text("A title of the model."), "datasetId": whole()}
    return {
        f"POST {training.TRAIN_PATH}": _call(
            "Train",
            "Train a model",
            "One training on a dataset at a time. With too few examples the training fails.",
            status,
            body=_form(named | how, *named),
        ),
        f"POST {training.RETRAIN_PATH}": _call(
            "Retrain",
            "Train a model again",
            "It keeps its id, and answers as before until the training is done. With a version of another wire, it "
            "answers as before until the new version is promoted by the native API.",
            status,
            body=_form({"modelId": text()} | how, "modelId"),
        ),
        f"GET {training.TRAIN_PATH}/{{model_id}}": _call(
            "Training", "Poll a training", "The last training of a model.", status, _MODEL
        ),
    }


def _of_models() -> Part:
    window = _window(models.MOST)
    return {
        f"GET {_ONE_DATASET}/models": _call(
            "ListModels",
            "List the models of a dataset",
            "Newest first.",
            _list_of("EinsteinModel", "Models."),
            _DATASET,
            *window,
        ),
        f"GET {_ONE_MODEL}": _call(
            "Metrics",
            "Get the metrics of a model",
            "On the test pictures of its dataset.",
            openapi_builder.response("The metrics.", ref("EinsteinMetrics")),
            _MODEL,
        ),
        f"GET {_ONE_MODEL}/lc": _call(
            "LearningCurve",
            "Get the learning curve of a model",
            "One entry per epoch, without those of fine-tuning. Before the last epoch, `testAccuracy` is measured on "
            "the validation pictures.",
            _list_of("EinsteinEpoch", "Epochs."),
            _MODEL,
            *window,
        ),
        f"DELETE {_ONE_MODEL}": _call(
            "DeleteModel",
            "Delete a model",
            "With all of its versions. Refused while it is in training.",
            openapi_builder.response("The deletion.", ref("EinsteinDeletion")),
            _MODEL,
        ),
    }


# parts of the calls


def _call(name: str, summary: str, about: str, response: Part, *parameters: Part, body: Part | None = None) -> Part:
    """Return one call; `response` is its response with status 200, or its responses by status."""
    answers = {"200": response} if "description" in response else response
    responses = answers | {"default": _WRONG}
    return openapi_builder.call(f"einstein{name}", summary, about, responses, parameters=parameters, body=body)


def _form(fields: dict[str, Schema], *required: str) -> Part:
    return openapi_builder.body(form=thing(fields, required=required))


def _list_of(schema: str, about: str) -> Part:
    listed = thing({"object": text(), "data": several(ref(schema))}, required=("object", "data"))
    return openapi_builder.response(about, listed)


def _window(most: int) -> Sequence[Part]:
    return (
        query("offset", whole("Number of entries to skip.", default=0, minimum=0)),
        query("count", whole(f"Most entries of the list; a greater number counts as {most}.", default=most, minimum=1)),
    )
