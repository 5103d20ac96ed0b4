"""This wire's part of the OpenAPI document: the same calls below the prefix of each generation."""

from __future__ import annotations

from collections.abc import Sequence

from api import openapi_builder
from api.dialects.einstein_vision import accounts, datasets, examples, models, prediction, training
from api.dialects.einstein_vision.common import GENERATIONS, KIND
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
            "What is left of the month",
            "Predictions of this wire, by calendar month (UTC).",
            _list_of("EinsteinUsage", "A list of one."),
        ),
    }


def _of_predictions() -> Part:
    left = {
        name: {"description": about, "schema": text()}
        for name, about in (
            ("X-RateLimit-Limit", "Predictions in a month."),
            ("X-RateLimit-Remaining", "What is left of them."),
            ("X-RateLimit-Reset", "When the next month begins (UTC), as `2019-04-01 00:00:00.0`."),
        )
    }
    general = prediction.GENERAL
    fields = {
        "modelId": text(f"A model, an alias, or `{general}` for the default model.", default=general),
        "sampleContent": binary("A PNG or JPEG of 5 MB at most. Exactly one of the three."),
        "sampleBase64Content": text("The same in base64."),
        "sampleLocation": text("Its URL.", format="uri"),
        "numResults": whole("Labels.", default=5, minimum=1),
        "sampleId": text("Your own name for it, given back."),
    }
    return {
        f"POST {prediction.PREDICT_PATH}": _call(
            "Predict",
            "Classify a picture",
            "Waits for the answer.",
            openapi_builder.response("The labels, best first.", ref("EinsteinPrediction"), headers=left),
            body=_form(fields, "modelId"),
        )
    }


def _of_datasets() -> Part:
    one, root = openapi_builder.response("The dataset.", ref("EinsteinDataset")), datasets.DATASETS_PATH
    archive = {
        "data": binary(f"A zip of label folders, {datasets.MAX_ARCHIVE // _MB} MB at most. Exactly one of the two."),
        "path": text("Its URL.", format="uri"),
    }
    kind = {"type": text("Pictures with one label each.", enum=[KIND], default=KIND)}
    named = {**archive, **kind, "name": text("Else it is called like the archive.")}
    return {
        f"POST {root}/upload/sync": _call(
            "UploadSync",
            "Create a dataset, and wait",
            "400 with the reason, and no dataset, where nothing can be learned from the archive. One that takes longer "
            "than a request may wait goes on loading: look at `available`.",
            one,
            body=_form(named),
        ),
        f"POST {root}/upload": _call(
            "Upload",
            "Create a dataset in the background",
            "Ask for it until it is `available`, or its `statusMsg` begins with `FAILED: `.",
            one,
            body=_form(named),
        ),
        f"POST {root}": _call(
            "CreateDataset",
            "Create an empty dataset",
            "For labels and examples one by one.",
            one,
            body=_form({"name": text(), "labels": text("With commas between them."), **kind}, "name"),
        ),
        f"GET {root}": _call(
            "ListDatasets",
            "List datasets",
            "Newest first.",
            _list_of("EinsteinDataset", "Datasets."),
            *_window(datasets.MOST),
            query("global", flag("Those that belong to everybody: there are none.")),
        ),
        f"GET {_ONE_DATASET}": _call("Dataset", "Look at a dataset", "How far it is, and its labels.", one, _DATASET),
        f"PUT {_ONE_DATASET}/upload": _call(
            "AddUpload",
            "Add pictures",
            "Read in the background; pictures that are there already are left out.",
            one,
            _DATASET,
            body=_form(archive),
        ),
        f"DELETE {_ONE_DATASET}": _call(
            "DeleteDataset",
            "Delete a dataset",
            "Its models go first; not while it is loading or being trained on.",
            openapi_builder.response("It will be gone soon.", ref("EinsteinDeletion")),
            _DATASET,
        ),
    }


def _of_examples() -> Part:
    one, some = (
        openapi_builder.response("The example.", ref("EinsteinExample")),
        _list_of("EinsteinExample", "Examples."),
    )
    label = openapi_builder.response("The label.", ref("EinsteinLabel"))
    data = binary(f"A PNG or JPEG of {examples.MAX_EXAMPLE // _MB} MB at most.")
    name = text("Else it is called like its file.")
    source = text("How they came.", enum=list(examples.SOURCES), default="all")
    window = (*_window(examples.MOST), query("source", source), query("type", text("The same by another name.")))
    shown = {"200": {"description": "Its bytes.", "content": {"image/*": {"schema": binary()}}}}
    signed = (query("expires", whole("Unix seconds.")), query("signature", text()))
    first, of_example = "The first one first.", (_DATASET, _EXAMPLE)
    fields = {"name": name, "labelId": whole(), "data": data}
    corrected = {"modelId": text(), "expectedLabel": text("What it shows."), "data": data, "name": name}
    return {
        f"POST {_ONE_DATASET}/labels": _call(
            "AddLabel", "Add a label", "Without examples.", label, _DATASET, body=_form({"name": text()}, "name")
        ),
        f"GET {_ONE_LABEL}": _call("Label", "Look at a label", "Its name.", label, _DATASET, _LABEL),
        f"GET {_ONE_LABEL}/examples": _call(
            "ListOfLabel", "List the examples of a label", first, some, _DATASET, _LABEL, *window
        ),
        f"POST {_ONE_DATASET}/examples": _call(
            "AddExample", "Add an example", "One picture.", one, _DATASET, body=_form(fields, "labelId", "data")
        ),
        f"GET {_ONE_DATASET}/examples": _call("ListExamples", "List examples", first, some, _DATASET, *window),
        f"GET {_ONE_EXAMPLE}": _call("Example", "Look at an example", "And where to see it.", one, *of_example),
        f"DELETE {_ONE_EXAMPLE}": _call(
            "DeleteExample",
            "Delete an example",
            "Models that learned from it stay.",
            {"204": empty("Gone.")},
            *of_example,
        ),
        f"GET {_ONE_EXAMPLE}/picture": _call(
            "Picture",
            "See an example",
            "What `location` leads to, for 30 minutes and without a key.",
            shown,
            *of_example,
            *signed,
        ),
        f"POST {examples.FEEDBACK_PATH}": _call(
            "Feedback",
            "Correct a prediction",
            "The picture becomes an example of the dataset that the model learned from.",
            one,
            body=_form(corrected, "modelId", "expectedLabel", "data"),
        ),
    }


def _of_training() -> Part:
    status = openapi_builder.response("The training.", ref("EinsteinTraining"))
    low, high = training.RATES
    usual = f"At most. Else {training.FEWEST_EPOCHS} to {training.ENOUGH_EPOCHS}, fewer for more pictures."
    how = {
        "epochs": whole(usual, minimum=1, maximum=training.MOST_EPOCHS),
        "learningRate": number(minimum=low, maximum=high, default=low),
        "trainParams": text("JSON: `trainSplitRatio` (0.9), `withFeedback` (false)."),
    }
    named = {"name": text("Of the model, for people."), "datasetId": whole()}
    return {
        f"POST {training.TRAIN_PATH}": _call(
            "Train",
            "Train a model",
            "One training on a dataset at a time. With too few examples, the training is one that has failed.",
            status,
            body=_form(named | how, *named),
        ),
        f"POST {training.RETRAIN_PATH}": _call(
            "Retrain",
            "Train a model anew",
            "It keeps its id, and answers as before until the training is done; one with a version that did not come "
            "by this wire, until the new version is promoted natively.",
            status,
            body=_form({"modelId": text()} | how, "modelId"),
        ),
        f"GET {training.TRAIN_PATH}/{{model_id}}": _call(
            "Training", "Ask how far a training is", "The last one of a model.", status, _MODEL
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
            "Ask how good a model is",
            "On the test pictures of its dataset.",
            openapi_builder.response("The metrics.", ref("EinsteinMetrics")),
            _MODEL,
        ),
        f"GET {_ONE_MODEL}/lc": _call(
            "LearningCurve",
            "Ask how a model became so good",
            "One entry for each epoch but those of fine-tuning. Before the last one `testAccuracy` is that of the "
            "validation pictures.",
            _list_of("EinsteinEpoch", "Epochs."),
            _MODEL,
            *window,
        ),
        f"DELETE {_ONE_MODEL}": _call(
            "DeleteModel",
            "Delete a model",
            "With all of its versions; not while it is trained.",
            openapi_builder.response("It is gone.", ref("EinsteinDeletion")),
            _MODEL,
        ),
    }


# parts of the calls


def _call(name: str, summary: str, about: str, given: Part, *parameters: Part, body: Part | None = None) -> Part:
    """Return one call; `given` is its response with status 200, or its responses by status."""
    answers = {"200": given} if "description" in given else given
    responses = answers | {"default": _WRONG}
    return openapi_builder.call(f"einstein{name}", summary, about, responses, parameters=parameters, body=body)


def _form(fields: dict[str, Schema], *required: str) -> Part:
    return openapi_builder.body(form=thing(fields, required=required))


def _list_of(schema: str, about: str) -> Part:
    listed = thing({"object": text(), "data": several(ref(schema))}, required=("object", "data"))
    return openapi_builder.response(about, listed)


def _window(most: int) -> Sequence[Part]:
    return (
        query("offset", whole("How many to leave out.", default=0, minimum=0)),
        query("count", whole(f"How many at most; {most} for whoever asks for more.", default=most, minimum=1)),
    )
