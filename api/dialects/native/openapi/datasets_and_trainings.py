"""Datasets, trainings and promotion as parts of the native wire's OpenAPI document."""

from __future__ import annotations

from api import openapi_builder
from api.dialects.native.openapi.parts import GONE, PAGING, PROBLEM, WAIT, call, page
from api.dialects.native.openapi.schemas import OPTIONS
from api.dialects.native.openapi.training_schemas import NAME, PARAMETERS
from api.dialects.native.serializers.datasets_and_trainings import PLOTS
from api.openapi_builder import Part, Schema, binary, header, path, query, ref, response, several, text, thing
from shared.domain.datasets import Source, Split
from shared.domain.jobs import Status
from shared.domain.trainings import SCRATCH

TAGS = [
    {"name": "Datasets", "description": "Labelled pictures to train on."},
    {"name": "Trainings", "description": "From a dataset to a version of a model, with the evidence of what it can."},
    {"name": "Promotion", "description": "Which version answers by default, and why that one."},
]
_LAYOUT = "zip, tar or tar.gz, with pictures as LABEL/picture.jpg, or with training, validation and test around that."
_NEEDS = "Needs the scope `models`."
_ONCE = "An `Idempotency-Key` is refused: it is for jobs only."
_NEWS = {"304": {"description": "Nothing has moved since the `ETag` you have."}}
_IF_NEW = header("If-None-Match", "The `ETag` of the answer before.")


def paths() -> Part:
    """Return every call on datasets, trainings, comparisons and the promotion of versions."""
    return _datasets() | _labels() | _examples() | _trainings() | _comparisons() | _promotion()


def _datasets() -> Part:
    reference = path("reference", "The id of the dataset; or its name, for the newest of that name.")
    form = thing({"name": {**NAME, "description": "The file's name without extension where none is given."},
                  "file": {**binary(), "description": _LAYOUT}}, required=("file",))  # fmt: skip
    url = text("A public address of an archive.", format="uri")
    json = thing({"name": NAME, "url": url, "labels": several(NAME, "Of a dataset that is filled picture by picture.")},
                 required=("name",))  # fmt: skip
    create = openapi_builder.body(form=form, json=json, raw=binary(f"{_LAYOUT} The name goes into the query."),
                             example={"name": "ducks", "labels": ["mallard", "teal"]})  # fmt: skip
    more = openapi_builder.body(form=thing({"file": {**binary(), "description": _LAYOUT}}, required=("file",)),
                           json=thing({"url": url}, required=("url",)), raw=binary(_LAYOUT),
                           example={"url": "https://example.org/ducks.zip"})  # fmt: skip
    loading = response("It is still being loaded; look again after `Retry-After`.", ref("Dataset"))
    one = response("The dataset.", ref("Dataset"))
    return {
        "/v1/datasets": {
            "get": call(
                "Datasets",
                "listDatasets",
                "List datasets",
                "Newest first, in pages.",
                PAGING,
                {"200": response("A page.", page("datasets", "Dataset")), "default": PROBLEM},
            ),
            "post": call(
                "Datasets",
                "createDataset",
                "Create a dataset",
                "From an archive, or empty, with `labels` or without. Duplicates are left out and counted, "
                "unusable files listed with their reasons. What cannot be used within the wait leaves nothing "
                f"behind. {_ONCE} {_NEEDS}",
                [WAIT],
                {"201": response("It can be used.", ref("Dataset")), "202": loading, "default": PROBLEM},
                create,
            ),
        },
        "/v1/datasets/{reference}": {
            "get": call(
                "Datasets",
                "getDataset",
                "Look at a dataset",
                "Or wait for the end of its loading.",
                [reference, WAIT],
                {"200": one, "default": PROBLEM},
            ),
            "delete": call(
                "Datasets",
                "removeDataset",
                "Remove a dataset",
                "With its pictures. Models that were trained on it stay, with their evidence. 409 while it "
                f"is loading, being trained on or compared on. {_NEEDS}",
                [reference],
                {"202": response("It is being removed, and soon gone.", ref("Dataset")), "default": PROBLEM},
            ),
        },
        "/v1/datasets/{reference}/archive": {
            "post": call(
                "Datasets",
                "addArchive",
                "Add an archive to a dataset",
                f"What is there stays, whatever becomes of the archive. {_NEEDS}",
                [reference, WAIT],
                {"200": one, "202": loading, "default": PROBLEM},
                more,
            ),
        },
    }


def _labels() -> Part:
    reference = path("reference", "The id or name of the dataset.")
    listed = thing({"labels": several(ref("DatasetLabel"), "By their ids.")}, required=("labels",))
    return {
        "/v1/datasets/{reference}/labels": {
            "get": call(
                "Datasets",
                "listLabels",
                "List the labels of a dataset",
                "With how many examples each has.",
                [reference],
                {"200": response("The labels.", listed), "default": PROBLEM},
            ),
            "post": call(
                "Datasets",
                "addLabel",
                "Add a label to a dataset",
                _NEEDS,
                [reference],
                {"201": response("The label.", ref("DatasetLabel")), "default": PROBLEM},
                openapi_builder.body(json=thing({"name": NAME}, required=("name",)), example={"name": "teal"}),
            ),
        },
    }


def _examples() -> Part:
    reference = path("reference", "The id or name of the dataset.")
    example = path("example_id", "The `id` of the example.")
    one = response("The example.", ref("Example"))
    split = text("What it is for; dealt out when a training begins where none is named.",
                 enum=[split for split in Split if split])  # fmt: skip
    form = thing({"file": {**binary(), "description": "One picture."}, "split": split,
                  "label": text("The name of a label that the dataset has.")}, required=("file", "label"))  # fmt: skip
    bytes_ = {"200": {"description": "The bytes as they came.", "content": {"image/*": {}}}, **_NEWS}
    return {
        "/v1/datasets/{reference}/examples": {
            "get": call("Datasets", "listExamples", "List the examples of a dataset", "By their ids, in pages.",
                        [reference, query("source", text(enum=list(Source))), query("label", text("By its name.")),
                         *PAGING], {"200": response("A page.", page("examples", "Example")), "default": PROBLEM}),
            "post": call("Datasets", "addExample", "Add an example to a dataset",
                         f"409 when the dataset has the picture already. {_NEEDS}", [reference],
                         {"201": one, "default": PROBLEM}, openapi_builder.body(form=form)),
        },
        "/v1/datasets/{reference}/examples/{example_id}": {
            "get": call("Datasets", "getExample", "Look at an example", "Without its bytes.", [reference, example],
                        {"200": one, "default": PROBLEM}),
            "delete": call("Datasets", "removeExample", "Remove an example",
                           f"Versions of the dataset that were trained on keep it. {_NEEDS}", [reference, example],
                           GONE),
        },
        "/v1/datasets/{reference}/examples/{example_id}/picture": {
            "get": call("Datasets", "getPicture", "Fetch the picture of an example", "", [reference, example, _IF_NEW],
                        {**bytes_, "default": PROBLEM}),
        },
    }  # fmt: skip


def _trainings() -> Part:
    training = path("training_id", "The `_id` of the training.")
    one = response("The training.", ref("Training"))
    asked = thing(
        {
            "dataset": text("Its id or name."),
            "name": text("Of the model; one that there is already gets another version."),
            "base": text(f"The model to start from, or `{SCRATCH}`; the best that is at hand where none is named."),
            "base_version": text("Its version; the default one where none is named. Only with a `base`."),
            "parameters": thing(PARAMETERS, description="How to train.", additionalProperties=False),
            "webhook": OPTIONS["webhook"],
            "webhook_secret": text("Signs the call."),
            "metadata": thing({}, description="Your own words, given back with the training."),
        },
        required=("dataset", "name"),
    )
    events = {"200": {"description": "Events; the data of each is a training without its evidence.",
                      "content": {"text/event-stream": {}}}, "default": PROBLEM}  # fmt: skip
    plots = {"200": {"description": "The plot.", "content": {"image/svg+xml": {}, "image/png": {}}}, **_NEWS}
    return {
        "/v1/trainings": {
            "get": call("Trainings", "listTrainings", "List trainings", "Newest first, without evidence, in pages.",
                        [query("status", text(enum=list(Status))), query("name", text("Of the model.")),
                         query("dataset", text("Its id or name.")), *PAGING],
                        {"200": response("A page.", page("trainings", "ListedTraining")), "default": PROBLEM}),
            "post": call("Trainings", "submitTraining", "Train a model",
                         "The version of the dataset is sealed: what is added later belongs to the next one. The first "
                         f"version of a model is its default, later ones are promoted. {_ONCE} {_NEEDS}", [WAIT],
                         {"200": response("The training, ended within the wait.", ref("Training")),
                          "202": response("The training, not ended yet. `Location` is where to poll.", ref("Training")),
                          "default": PROBLEM},
                         openapi_builder.body(json=asked, example={"dataset": "ducks", "name": "ducks"})),
        },
        "/v1/trainings/{training_id}": {
            "get": call("Trainings", "getTraining", "Poll a training",
                        "Or wait for it, with `Prefer: wait=N`. When it is DONE, its evidence is told.",
                        [training, WAIT, _IF_NEW], {"200": one, **_NEWS, "default": PROBLEM}),
            "delete": call("Trainings", "cancelTraining", "Cancel a training",
                           f"The dataset and other versions of the model stay as they are. 409 when it has ended. "
                           f"{_NEEDS}", [training], {"200": one, "default": PROBLEM}),
        },
        "/v1/trainings/{training_id}/events": {
            "get": call("Trainings", "followTraining", "Follow a training",
                        "Server-sent events: `status` and `progress` as it moves, `done` at the end.", [training],
                        events),
        },
        "/v1/trainings/{training_id}/plots/{name}.{kind}": {
            "get": call("Trainings", "getPlot", "Fetch a plot of the evidence", "", [
                training, {**path("name", "Which."), "schema": text(enum=list(PLOTS))},
                {**path("kind", "Its format."), "schema": text(enum=["svg", "png"])}, _IF_NEW,
            ], {**plots, "default": PROBLEM}),
        },
    }  # fmt: skip


def _comparisons() -> Part:
    one = response("The comparison, ended.", ref("Comparison"))
    later = response("The comparison, not ended yet. `Location` is where to poll.", ref("Comparison"))
    asked = _version({
        "baseline": text("The version to compare it with; the default where none is named."),
        "dataset": text("Id or name; the one that the version was trained on where none is named."),
    })  # fmt: skip
    listed = thing({"comparisons": several(ref("Comparison"))}, required=("comparisons",))
    return {
        "/v1/models/{name}/compare": {
            "post": call("Promotion", "compareVersions", "Compare two versions",
                         "Both are shown the same test pictures, none of which either has learned from. A training "
                         f"that adds a version compares it with the default by itself. {_NEEDS}", [_MODEL, WAIT],
                         {"200": one, "202": later, "default": PROBLEM},
                         openapi_builder.body(json=asked, example={"version": "2"})),
        },
        "/v1/models/{name}/comparisons": {
            "get": call("Promotion", "listComparisons", "List comparisons", "The last fifty, newest first.", [_MODEL],
                        {"200": response("The comparisons.", listed), "default": PROBLEM}),
        },
        "/v1/comparisons/{comparison_id}": {
            "get": call("Promotion", "getComparison", "Poll a comparison", "Or wait for it, with `Prefer: wait=N`.",
                        [path("comparison_id", "Its `_id`."), WAIT],
                        {"200": response("The comparison.", ref("Comparison")), "default": PROBLEM}),
        },
    }  # fmt: skip


def _promotion() -> Part:
    default = response("The version that is the default now.", ref("Version"))
    canary = response("The canary.", ref("Canary"))
    share = {"type": "number", "exclusiveMinimum": 0, "maximum": 1, "description": "Of those that name no version."}
    asked = _version({"share": share}, "share")
    return {
        "/v1/models/{name}/promote": {
            "post": call("Promotion", "promoteVersion", "Make a version the default",
                         f"409 unless it was compared with the present default: look at the report first. {_NEEDS}",
                         [_MODEL], {"200": default, "default": PROBLEM},
                         openapi_builder.body(json=_version({}), example={"version": "2"})),
        },
        "/v1/models/{name}/rollback": {
            "post": call("Promotion", "rollbackVersion", "Undo the last promotion", _NEEDS, [_MODEL],
                         {"200": default, "default": PROBLEM}),
        },
        "/v1/models/{name}/canary": {
            "get": call("Promotion", "getCanary", "Look at the canary",
                        "The version that answers a share of the requests, and how often it agrees with the default.",
                        [_MODEL], {"200": canary, "default": PROBLEM}),
            "put": call("Promotion", "setCanary", "Give a version a share of the requests",
                        f"It takes the place of another, and counting begins anew. {_NEEDS}", [_MODEL],
                        {"200": canary, "default": PROBLEM},
                        openapi_builder.body(json=asked, example={"version": "2", "share": 0.1})),
            "delete": call("Promotion", "clearCanary", "Take the share back", f"The version stays. {_NEEDS}", [_MODEL],
                           GONE),
        },
    }  # fmt: skip


_MODEL = path("name", "The model.")


def _version(more: dict[str, Schema], *required: str) -> Schema:
    return thing({"version": text("Of the model."), **more}, required=("version", *required))
