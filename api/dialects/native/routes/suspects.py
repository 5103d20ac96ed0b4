"""`/v1/datasets/…/suspects`: the examples whose label is probably wrong; and the change of an example's label."""

from __future__ import annotations

from flask import Response
from flask.typing import ResponseReturnValue

from api.context import caller, container, scope
from api.dialects.native.openapi.operations import Body, OperationsBlueprint, operation
from api.dialects.native.requests import common
from api.dialects.native.requests.common import get_dataset, parse_json, right_labels
from api.dialects.native.serializers import datasets as serializers
from api.dialects.native.serializers.common import respond
from shared.schemas import datasets as schemas
from shared.services import datasets, suspects

bp = OperationsBlueprint("native-suspects", __name__)

_EXAMPLE = f"<int(max={common.LARGEST_ID}):example_id>"


@bp.get("/v1/datasets/<reference>/suspects")
@operation("listSuspects", "Datasets", {200: ("The suspects.", schemas.SuspectList)})
def suspect_labels(reference: str) -> Response:
    """List the suspect labels of a dataset.

    Of the newest training on it, at most 200. An example that was removed or relabelled since then, or whose label was
    kept, is left out.
    """
    return respond(serializers.suspects(suspects.find(container(), get_dataset(reference))))


@bp.delete(f"/v1/datasets/<reference>/suspects/{_EXAMPLE}")
@scope("models")
@operation("keepLabel", "Datasets", {204: ("It is no suspect any more.", None)})
def keep(reference: str, example_id: int) -> ResponseReturnValue:
    """Keep the label of a suspect.

    It is right: neither this training nor later ones list the example as a suspect of the dataset.
    """
    suspects.keep(container(), caller().tenant, get_dataset(reference).id, example_id)
    return "", 204


@bp.post(f"/v1/datasets/<reference>/examples/{_EXAMPLE}/labels")
@scope("models")
@operation(
    "relabelExample",
    "Datasets",
    {201: ("The example with its new label, and a new id.", schemas.Example)},
    body=Body(json=schemas.RelabelRequest, example={"label": "teal"}),
)
def relabel(reference: str, example_id: int) -> Response:
    """Relabel an example.

    It gets a new id: versions of the dataset that were trained on keep the example as it was. One that has the label
    already stays as it is.
    """
    dataset, wanted = get_dataset(reference), parse_json(schemas.RelabelRequest)
    names = right_labels(wanted.label, wanted.labels)
    label_ids = datasets.label_ids(container(), dataset.tenant, dataset.id, names)
    example = suspects.relabel(container(), dataset.tenant, dataset.id, example_id, label_ids)
    return respond(serializers.example(example), 201, location=serializers.example_path(example))
