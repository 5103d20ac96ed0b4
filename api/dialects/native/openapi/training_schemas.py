"""JSON Schemas of datasets, trainings and comparisons; native/serializers/datasets_and_trainings.py fills them."""

from __future__ import annotations

from typing import Any

from api.dialects.native.openapi.schemas import ENGINE, METHODS, moment
from api.dialects.native.serializers.datasets_and_trainings import LISTED, PLOTS
from api.openapi_builder import Schema, flag, number, ref, several, text, thing, whole
from shared.domain.datasets import LONGEST_NAME, REASONS, DatasetState, Source, Split
from shared.domain.jobs import Status
from shared.domain.trainings import FINE_TUNING, LONGEST, SCRATCH


def _maybe(schema: Schema) -> Schema:
    """Return the schema of a value that `schema` describes, or null."""
    return {"anyOf": [schema, {"type": "null"}]}


def _share(description: str = "") -> Schema:
    return number(description, minimum=0, maximum=1)


NAME = text("", minLength=1, maxLength=LONGEST_NAME)

_LABEL = thing(
    {
        "id": whole("1 is the dataset's first."),
        "name": text(),
        "examples": whole("How many it has now."),
    },
    required=("id", "name", "examples"),
)
_DATASET = thing(
    {
        "id": whole("Below 2^53; later ones are larger."),
        "name": text(),
        "state": text("Only `READY` can be trained on and changed.", enum=list(DatasetState)),
        "message": text("How far the loading is, or why the last archive could not be read."),
        "progress": _share("Of the loading."),
        "version": whole("What was trained on never changes: the next change opens another version."),
        "examples": whole("How many there are now."),
        "labels": several(ref("DatasetLabel"), f"By their ids; in a list of datasets the first {LISTED} of each."),
        "label_count": whole("How many labels there are."),
        "duplicates": whole("Pictures that were there already and were left out."),
        "unreadable": whole("Files that are no picture that can be used, or lie where no label is."),
        "reasons": several(thing({"path": text(), "why": text()}), f"Of those, for the first {REASONS}."),
        "created_at": moment(),
        "updated_at": moment(),
        "links": thing({"self": text(), "labels": text(), "examples": text()}),
    },
    required=("id", "name", "state", "message", "progress", "version", "examples", "labels", "label_count", "links"),
)
_EXAMPLE = thing(
    {
        "id": whole("1 is the dataset's first."),
        "name": text("Of its file."),
        "label": thing({"id": whole(), "name": text()}, required=("id", "name")),
        "split": text("What it is for; empty is dealt out when a training begins.", enum=list(Split)),
        "source": text("`feedback` is the correction of a wrong prediction.", enum=list(Source)),
        "size": whole("Bytes."),
        "sha256": text("Of the bytes, hex: a dataset has a picture once."),
        "created_at": moment(),
        "links": thing({"self": text(), "picture": text()}),
    },
    required=("id", "name", "label", "split", "source", "links"),
)
PARAMETERS: dict[str, Schema] = {
    "epochs": whole("At most.", minimum=1, maximum=10_000, default=100),
    "learning_rate": number("", exclusiveMinimum=0, exclusiveMaximum=1, default=0.001),
    "batch_size": whole("Pictures.", minimum=1, maximum=1024, default=32),
    "max_unimproved_epochs": whole("Epochs without a lower validation loss after which it is enough.",
                                   minimum=1, maximum=10_000, default=10),
    "train_split_ratio": number("Share of each label that trains, where the dataset does not say.",
                                minimum=0.1, maximum=0.95, default=0.8),
    "seed": whole("The same data and seed give the same model.", minimum=0, maximum=2**31 - 1, default=0),
    "with_feedback": flag("Also learn from corrections of wrong predictions.", default=True),
    "fine_tune": text("Of the base's last stages: `auto` keeps it if it helps on the validation pictures.",
                      enum=list(FINE_TUNING), default="auto"),
    "flip": flag("Mirrored pictures mean the same; no for digits and letters.", default=True),
    "max_seconds": number("After which it stops with the best it has.",
                          minimum=1, maximum=LONGEST, default=24 * 3600.0),
}  # fmt: skip
"""The parameters of a training."""

_EPOCH = thing(
    {
        "stage": text("`head`, `fine-tuning` or `network`."),
        "epoch": whole("1 is the first of its stage."),
        "train_loss": number(),
        "train_accuracy": number(),
        "validation_loss": _maybe(number()),
        "validation_accuracy": _maybe(number()),
    }
)
_TRAINING: dict[str, Schema] = {
    "_id": text("Ids sort by time (UUIDv7)."),
    "status": text(enum=list(Status)),
    "terminal": flag("Nothing will change any more."),
    "wire": text("The wire by which it was asked for.", examples=["native"]),
    "name": text("Of the model."),
    "title": text("The caller's own name for it."),
    "dataset": thing({"id": whole(), "version": _maybe(whole("Null while the dataset is still loading."))}),
    "base": text(f"Model and version that it starts from, or `{SCRATCH}`.", examples=["mobilenet_v2 1"]),
    "parameters": thing(PARAMETERS),
    "progress": _share(),
    "message": text("What it is doing, for people."),
    "position": whole("In the queue, as long as it waits; 1 is the next."),
    "curve": several(ref("Epoch"), "One entry per epoch."),
    "model": _maybe(thing({"name": text(), "version": text()}, description="What it has made.")),
    "error": _maybe(text("Why it has FAILED.")),
    "error_code": _maybe(text("The same for programs.")),
    "metadata": thing({}),
    "created_at": moment(),
    "started_at": moment(),
    "finished_at": moment(),
    "links": thing({"self": text(), "events": text(), "plots": thing({name: text() for name in PLOTS})}),
}
_ALWAYS = [name for name in _TRAINING if name != "position"]
_MEASURED = {"precision": _share(), "recall": _share(), "f1": _share(), "support": whole("Test pictures.")}
_EVIDENCE: dict[str, Any] = {
    "accuracy": _share("On the test pictures, as are all of the following."),
    "macro_f1": _share(),
    "labels": several(text(), "In the order of the rows and columns."),
    "per_label": several(thing({"label": text(), **_MEASURED})),
    "confusion": several(several(whole()), "Rows are the truth, columns the answers."),
    "ece_before": number("Expected calibration error."),
    "ece_after": number("After the logits are divided by the temperature."),
    "temperature": number("Fitted on the validation pictures."),
    "reliability": several(thing({"low": number(), "high": number(), "count": whole(), "confidence": _maybe(number()),
                                  "accuracy": _maybe(number())})),
    "reliability_before": several(thing({}), "The same before that."),
    "mistakes_in_all": whole(),
    "mistakes": several(thing({"example": whole("Its id."), "name": text(), "expected": text(),
                               "predicted": text(), "score": number()}), "The most confident ones."),
    "tested": several(several(whole()), "Id of the example, and the number of the answer's label, of the first 5,000."),
    "curve": several(ref("Epoch")),
    "epochs": whole("How many were run, of all stages."),
    "best_epoch": _maybe(whole("Whose weights were kept.")),
    "train_accuracy": _maybe(number()),
    "train_loss": _maybe(number()),
    "validation_accuracy": _maybe(number()),
    "method": text("How it was trained.", enum=list(METHODS)),
    "note": text("How it was made, in a sentence."),
    "stopped": text("Why it stopped: `early`, `epochs` or `time`."),
    "examples": thing({name: whole() for name in ("training", "validation", "test")}),
    "dataset": thing({"id": whole(), "name": text(), "version": whole()}),
    "base": text(),
    "parameters": thing({}),
    "seconds": thing({}, description="What took how long."),
    "machine": thing({}, description="On what it was trained."),
}  # fmt: skip
_SIDE = thing(
    {
        "version": text(),
        "accuracy": _share(),
        "macro_f1": _share(),
        "per_label": several(thing({"label": text(), **_MEASURED})),
        "milliseconds": number("Per picture, one at a time."),
    }
)
_COMPARISON = thing(
    {
        "_id": text("Ids sort by time (UUIDv7)."),
        "status": text("`QUEUED`, `DONE` or `FAILED`.", enum=list(Status)),
        "terminal": flag("Nothing will change any more."),
        "name": text("Of the model."),
        "candidate": _maybe(text("The version that was asked about; null when it is gone.")),
        "baseline": _maybe(text("The version that it is compared with.")),
        "dataset": thing({"id": whole(), "version": whole()}),
        "report": _maybe(thing({
            "pictures": whole("That neither has learned from, and both were shown."),
            "left_out": whole("Test pictures that one of the two has learned from."),
            "agreement": _share("Of the pictures: the same best label."),
            "candidate": _SIDE,
            "baseline": _SIDE,
        })),
        "error": _maybe(text("Why it has FAILED.")),
        "created_at": moment(),
        "finished_at": moment(),
        "links": thing({"self": text(), "model": text()}),
    },
    required=("_id", "status", "terminal", "name", "report", "links"),
)  # fmt: skip
_CANARY = thing(
    {
        "version": text(),
        "share": _share("Of the requests that name no version."),
        "compared": whole("Pictures of that version that the default was shown as well."),
        "agreed": whole("Of those: the same best label."),
        "agreement": _maybe(_share("`agreed` over `compared`; null before there is any.")),
        "since": moment(),
    },
    required=("version", "share", "compared", "agreed", "agreement", "since"),
)
_VERSION = thing(
    {
        "label_names": several(text(), "In the order of the logits."),
        "engine": ENGINE,
        "evidence": _maybe(ref("Evidence")),
        "links": thing({"self": text(), "training": text(), "plots": thing({name: text() for name in PLOTS})}),
    },
    required=("label_names", "evidence", "links"),
)

TRAINING_SCHEMAS: dict[str, Schema] = {
    "Dataset": _DATASET,
    "DatasetLabel": _LABEL,
    "Example": _EXAMPLE,
    "Training": thing(_TRAINING | {"evidence": _maybe(ref("Evidence"))}, required=[*_ALWAYS, "evidence"]),
    "ListedTraining": thing(
        _TRAINING | {"accuracy": number("When DONE, on its test pictures."), "method": text("As in evidence.")},
        required=_ALWAYS,
        description="A training without its evidence and curve.",
    ),
    "Epoch": _EPOCH,
    "Evidence": thing(_EVIDENCE, required=("accuracy", "method"), description="What was measured."),
    "WholeVersion": {"allOf": [ref("Version"), _VERSION], "description": "A version with its evidence."},
    "Comparison": _COMPARISON,
    "Canary": _CANARY,
}
