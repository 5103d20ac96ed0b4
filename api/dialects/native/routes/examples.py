"""`/v1/datasets/…/examples`: the labelled pictures of a dataset, one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask import Response, request
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import MultiDict

from api import reading
from api.context import caller, container, scope
from api.dialects.native.openapi.operations import IF_NONE_MATCH, Body, Media, OperationsBlueprint, operation
from api.dialects.native.requests import common
from api.dialects.native.requests.common import get_dataset, parse
from api.dialects.native.serializers import datasets as serializers
from api.dialects.native.serializers.common import cut, respond
from shared import errors
from shared.domain.datasets import Dataset, DatasetExample, Split
from shared.domain.pictures import Picture
from shared.imaging import images
from shared.schemas import datasets as schemas
from shared.services import absences, datasets

bp = OperationsBlueprint("native-examples", __name__)

_ONE = f"/v1/datasets/<reference>/examples/<int(max={common.LARGEST_ID}):example_id>"


@bp.get("/v1/datasets/<reference>/examples")
@operation("listExamples", "Datasets", {200: ("A page.", schemas.ExamplePage)}, query=schemas.ExampleQuery)
def examples(reference: str) -> Response:
    """List the examples of a dataset.

    Oldest first, in pages.
    """
    query, dataset = parse(schemas.ExampleQuery, request.args), get_dataset(reference)
    label_id = _label_ids(dataset, [query.label])[0] if query.label else None
    after = common.cursor_number(query.cursor) or 0
    rows = datasets.list_examples(
        container(), dataset, source=query.source, label_id=label_id, after=after, limit=query.limit + 1
    )
    page, following = cut(rows, query.limit)
    return respond(schemas.ExamplePage(examples=[serializers.example(example) for example in page], next=following))


@bp.post("/v1/datasets/<reference>/examples")
@scope("models")
@operation("addExample", "Datasets", {201: ("The example.", schemas.Example)}, body=Body(form=schemas.ExampleForm))
def add_example(reference: str) -> Response:
    """Add an example to a dataset.

    One picture with its label, or with its labels. 409 when the dataset has the picture already.
    """
    dataset = get_dataset(reference)
    if not reading.is_multipart(request):
        raise errors.NoInput("Send the picture as multipart form data, in `file`, with the name of its `label`.")
    wanted = parse(schemas.ExampleForm, _with_all(request.form, "label"), _with_all(request.args, "label"))
    if not wanted.label and not dataset.is_multi_label:
        raise errors.BadOption("label is missing: the name of a label that the dataset has")
    label_ids = _label_ids(dataset, wanted.label)
    example = datasets.add_example(
        container(), dataset.tenant, dataset.id, label_ids, _picture(), split=Split(wanted.split)
    )
    return respond(serializers.example(example), 201, location=serializers.example_path(example))


@bp.get(_ONE)
@operation("getExample", "Datasets", {200: ("The example.", schemas.Example)})
def show_example(reference: str, example_id: int) -> Response:
    """Look at an example.

    Without its bytes.
    """
    return respond(serializers.example(_example(reference, example_id)))


@bp.delete(_ONE)
@scope("models")
@operation("removeExample", "Datasets", {204: ("It is removed.", None)})
def remove_example(reference: str, example_id: int) -> ResponseReturnValue:
    """Remove an example.

    Versions of the dataset that were trained on keep it.
    """
    datasets.remove_example(container(), caller().tenant, get_dataset(reference).id, example_id)
    return "", 204


@bp.get(f"{_ONE}/picture")
@operation(
    "getPicture",
    "Datasets",
    {200: ("The bytes as they were uploaded.", Media(["image/*"])), 304: ("It has not changed.", None)},
    headers=[IF_NONE_MATCH],
)
def picture(reference: str, example_id: int) -> ResponseReturnValue:
    """Fetch the picture of an example."""
    example = _example(reference, example_id)
    data = absences.read(
        container(), example.blob, f"the picture of example {example_id}", lambda: _example(reference, example_id),
        offset=example.offset, size=example.size,
    )  # fmt: skip
    response = Response(data, mimetype=images.media_type(data))
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Cache-Control"] = "private, max-age=86400"
    response.set_etag(example.sha256)
    return response.make_conditional(request)


def _example(reference: str, example_id: int) -> DatasetExample:
    dataset = get_dataset(reference)
    return datasets.example(container(), dataset.tenant, dataset.id, example_id)


def _with_all(sent: MultiDict[str, str], name: str) -> dict[str, Any]:
    """Return the fields of a form or query, and all values of the one that may be repeated."""
    values = [value for value in sent.getlist(name) if value]
    return {**sent.to_dict(), **({name: values} if values else {})}


def _label_ids(dataset: Dataset, names: Sequence[str]) -> list[int]:
    return datasets.label_ids(container(), dataset.tenant, dataset.id, names)


def _picture() -> Picture:
    limits = reading.limits(container().settings)
    upload = common.only_file("a picture")
    return images.check(upload.name, upload.stream.read(limits.max_bytes + 1), limits)
