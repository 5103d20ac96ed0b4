"""JSON Schemas of the answers of this wire."""

from __future__ import annotations

from api.openapi_builder import Schema, flag, number, several, text, thing, whole

_SUMMARY = thing({"id": whole(), "datasetId": whole(), "name": text(), "numExamples": whole()})
_TIME = "As `2017-02-17T00:22:10.000+0000`."
_TOOK = "Hours, minutes, seconds and milliseconds, as `00:01:35:172`."
_ABSENT = {"type": "null", "description": "There is nothing like it here."}
_TRAINED = {
    "datasetId": whole(),
    "datasetVersionId": whole("Always 0."),
    "name": text("For people."),
    "status": text(enum=["QUEUED", "RUNNING", "SUCCEEDED", "FAILED"]),
    "progress": number("0 to 1."),
    "createdAt": text(_TIME),
    "updatedAt": text(_TIME),
    "failureMsg": text("Only of one that has FAILED."),
    "modelId": text(),
    "modelType": text(),
    "language": text(),
    "object": text(),
}
_MEASURED = thing(
    {
        "f1": several(number(), "One for each label."),
        "labels": several(text()),
        "testAccuracy": {"type": ["number", "null"]},
        "trainingLoss": {"type": ["number", "null"]},
        "confusionMatrix": several(several(whole()), "Rows are what a picture shows, columns what it was taken for."),
        "confusionMatrices": several(
            several(several(whole())),
            "Of a multi-label model instead, for each label: `[[without it, answered wrongly], [missed, answered "
            "rightly]]`.",
        ),
        "trainingAccuracy": {"type": ["number", "null"]},
    },
    required=("f1", "labels", "testAccuracy", "trainingLoss", "trainingAccuracy"),
)
_STATS = thing(
    {
        "labels": whole(),
        "examples": whole(),
        "totalTime": text(_TOOK),
        "transforms": _ABSENT,
        "trainingTime": text(_TOOK),
        "earlyStopping": flag(),
        "lastEpochDone": whole(),
        "modelSaveTime": text(_TOOK),
        "testSplitSize": whole("Pictures."),
        "trainSplitSize": whole("Pictures."),
        "datasetLoadTime": text(_TOOK),
        "preProcessStats": _ABSENT,
        "postProcessStats": _ABSENT,
    }
)


def _whole_thing(properties: dict[str, Schema], *optional: str) -> Schema:
    """Return the schema of an answer that always has every property, except those in `optional`."""
    return thing(properties, required=[name for name in properties if name not in optional])


SCHEMAS: dict[str, Schema] = {
    "EinsteinToken": _whole_thing(
        {
            "access_token": text(),
            "token_type": text(),
            "expires_in": whole("Seconds."),
            "refresh_token": text("Only if it was requested."),
        },
        "refresh_token",
    ),
    "EinsteinPrediction": _whole_thing(
        {
            "probabilities": several(thing({"label": text(), "probability": number()})),
            "sampleId": text("Only if it was sent."),
            "object": text(),
        },
        "sampleId",
    ),
    "EinsteinUsage": _whole_thing(
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
    "EinsteinDataset": _whole_thing(
        {
            "id": whole(),
            "name": text(),
            "createdAt": text(_TIME),
            "updatedAt": text(_TIME),
            "labelSummary": thing({"labels": several(_SUMMARY)}, required=("labels",)),
            "totalExamples": whole(),
            "totalLabels": whole(),
            "available": flag("Whether it can be trained on and changed."),
            "statusMsg": text("`SUCCEEDED`, `UPLOADING`, `DELETE_PENDING`, or `FAILED: ` and the reason."),
            "type": text(),
            "language": text(),
            "numOfDuplicates": whole("Pictures that were left out because they were there already."),
            "object": text(),
        }
    ),
    "EinsteinLabel": _whole_thing({"id": whole(), "datasetId": whole(), "name": text(), "object": text()}),
    "EinsteinExample": _whole_thing(
        {
            "id": whole(),
            "name": text(),
            "location": text("URL of the picture, valid for 30 minutes.", format="uri"),
            "createdAt": text(_TIME),
            "label": _SUMMARY,
            "labels": several(_SUMMARY, "Of a multi-label dataset instead: all labels of the picture."),
            "object": text(),
        },
        "label", "labels",
    ),
    "EinsteinTraining": _whole_thing(
        {
            **_TRAINED,
            "learningRate": number(),
            "epochs": whole(),
            "queuePosition": whole("Only of one that is QUEUED; 1 is the next."),
            "earlyStopping": flag("Only of one that has SUCCEEDED."),
            "lastEpochDone": whole("Only of one that has SUCCEEDED."),
            "trainParams": {"type": ["object", "null"], "description": "The known parameters that were sent."},
            "trainStats": {"oneOf": [_STATS, {"type": "null"}]},
        },
        "failureMsg", "queuePosition", "earlyStopping", "lastEpochDone",
    ),
    "EinsteinModel": _whole_thing(_TRAINED, "failureMsg"),
    "EinsteinMetrics": _whole_thing(
        {"id": text(), "createdAt": text(_TIME), "language": text(), "object": text(), "metricsData": _MEASURED}
    ),
    "EinsteinEpoch": _whole_thing(
        {
            "epoch": whole("1 is the first."),
            "metricsData": _MEASURED,
            "epochResults": several(
                thing({"exampleName": text(), "expectedLabel": text(), "predictedLabel": text()}),
                "Of the test pictures, after the last epoch.",
            ),
            "object": text(),
        }
    ),
    "EinsteinDeletion": _whole_thing(
        {
            "id": text(),
            "type": text(enum=["DATASET", "MODEL"]),
            "status": text(enum=["QUEUED", "SUCCEEDED"]),
            "progress": number("0 to 1."),
            "message": text(),
            "object": text(),
            "organizationId": text(),
            "deletedObjectId": text(),
        }
    ),
    "EinsteinError": thing({"message": text("The reason, and what to do.")}, required=("message",)),
}  # fmt: skip
