"""Labels and examples of a dataset, corrections of wrong predictions, and signed links to the pictures."""

from __future__ import annotations

from collections.abc import Sequence

from flask import Response, jsonify, request
from flask.typing import ResponseReturnValue

from api import auth, reading
from api.context import caller, container, scope
from api.dialects.einstein_vision import serializers
from api.dialects.einstein_vision.common import (
    Calls,
    form_fields,
    generation,
    list_response,
    model_id,
    png_or_jpeg,
    required_text,
    window,
)
from api.dialects.einstein_vision.datasets import ONE_DATASET
from api.reading import Fields
from shared import errors
from shared.domain.datasets import DatasetExample, Source, check_name
from shared.domain.pictures import Picture
from shared.imaging import images
from shared.services import absences, datasets, feedback, signed_urls

FEEDBACK_PATH = "/vision/feedback"
LABELS_PATH, EXAMPLES_PATH = f"{ONE_DATASET}/labels", f"{ONE_DATASET}/examples"
ONE_LABEL, ONE_EXAMPLE = f"{LABELS_PATH}/<einstein_number:label_id>", f"{EXAMPLES_PATH}/<einstein_number:example_id>"
MAX_EXAMPLE = 1024 * 1024
"""Most bytes of one example."""
MOST = 100
"""Most examples in one list."""
LINK_SECONDS = 30 * 60
"""Seconds for which a `location` leads to the picture."""
SOURCES = {"all": "", **{str(source): str(source) for source in Source}}


# labels


@scope("models")
def add_label(dataset_id: int) -> ResponseReturnValue:
    """Create a label without examples."""
    name = required_text(form_fields(), "name")
    return jsonify(serializers.label(datasets.add_label(container(), caller().tenant, dataset_id, name)))


def show_label(dataset_id: int, label_id: int) -> ResponseReturnValue:
    """Return one label."""
    return jsonify(serializers.label(datasets.label(container(), caller().tenant, dataset_id, label_id)))


# examples


@scope("models")
def add_example(dataset_id: int) -> ResponseReturnValue:
    """Add one labelled picture to a dataset; for a multi-label dataset `labelId` may be repeated, or left out."""
    fields = _fields()
    if not datasets.get(container(), caller().tenant, dataset_id).is_multi_label:
        required_text(fields, "labelId")
    sent = [text.strip() for text in request.form.getlist("labelId") if text.strip()]
    label_ids = [Fields({"labelId": text}).whole("labelId", 0) for text in sent]
    return _example_response(
        datasets.add_example(container(), caller().tenant, dataset_id, label_ids, _picture(fields))
    )


@scope("infer")
def correct() -> ResponseReturnValue:
    """Add a picture that a model got wrong, with its right label, to the dataset that the model was trained on; for a
    multi-label model `expectedLabel` may be repeated."""
    fields = _fields()
    name, _ = model_id(fields), required_text(fields, "expectedLabel")
    labels = [text.strip() for text in request.form.getlist("expectedLabel") if text.strip()]
    return _example_response(feedback.correct_model(container(), caller().tenant, name, labels, _picture(fields)))


def list_examples(dataset_id: int) -> ResponseReturnValue:
    """Return the examples of a dataset, oldest first."""
    return _list_page(dataset_id)


def list_of_label(dataset_id: int, label_id: int) -> ResponseReturnValue:
    """Return the examples of one label, oldest first; raises NotFound for an unknown label."""
    datasets.label(container(), caller().tenant, dataset_id, label_id)
    return _list_page(dataset_id, label_id)


def show_example(dataset_id: int, example_id: int) -> ResponseReturnValue:
    """Return one example."""
    return _example_response(datasets.example(container(), caller().tenant, dataset_id, example_id))


@scope("models")
def delete_example(dataset_id: int, example_id: int) -> ResponseReturnValue:
    """Remove an example from its dataset; 204."""
    datasets.remove_example(container(), caller().tenant, dataset_id, example_id)
    return "", 204


def _list_page(dataset_id: int, label_id: int | None = None) -> ResponseReturnValue:
    offset, count = window(MOST)
    fields = Fields(request.args)
    source = (fields.text("source") or fields.text("type", "all")).lower()
    if source not in SOURCES:
        raise errors.BadOption(f"source must be one of {', '.join(SOURCES)}, not {source!r}")
    dataset = datasets.get(container(), caller().tenant, dataset_id)
    page, page_labels = datasets.list_examples_with_labels(
        container(), dataset, source=SOURCES[source], label_id=label_id, offset=offset, limit=count
    )
    labels = {label.id: label for label in page_labels}
    located = zip(page, _locations(page), strict=True)
    return list_response(
        [
            serializers.example(example, [labels[label_id] for label_id in example.all_label_ids], url)
            for example, url in located
        ]
    )


def _example_response(example: DatasetExample) -> ResponseReturnValue:
    labels = datasets.labels(container(), caller().tenant, example.dataset_id)
    own = [label for label in labels if label.id in example.all_label_ids]
    return jsonify(serializers.example(example, own, *_locations([example])))


def _fields() -> Fields:
    """Return the form of a call that carries one picture."""
    request.max_content_length = min(container().settings.max_body, MAX_EXAMPLE + reading.SMALL)
    return form_fields()


def _picture(fields: Fields) -> Picture:
    """Return the picture in `data`, with the name in the form, else that of its file; raises NoInput."""
    parts = request.files.getlist("data")
    if len(parts) != 1:
        raise errors.NoInput("Send exactly one picture as the file part `data` in multipart/form-data.")
    name = fields.text("name")
    name = check_name(name, "example") if name else reading.file_name(parts[0])
    limits = png_or_jpeg(MAX_EXAMPLE)
    return images.check(name, parts[0].stream.read(limits.max_bytes + 1), limits)


# links to pictures


@auth.public
def show_picture(dataset_id: int, example_id: int) -> ResponseReturnValue:
    """Return the bytes of an example for a signed link that has not expired; no key is needed."""
    fields = Fields(request.args)
    signed_urls.check(container(), request.path, fields.whole("expires", 0), fields.text("signature"))

    def find() -> DatasetExample:
        example = datasets.find_example_of_any_tenant(container(), dataset_id, example_id)
        if example is None:
            raise errors.NotFound("The example is not there any more.")
        return example

    example = find()
    data = absences.read(
        container(), example.blob, f"the picture of example {example_id}", find,
        offset=example.offset, size=example.size,
    )  # fmt: skip
    response = Response(data, mimetype=images.media_type(data))
    response.headers["Content-Disposition"] = "attachment"  # untrusted bytes are never shown as a page of ours
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Cache-Control"] = "private"
    return response


def _locations(examples: Sequence[DatasetExample]) -> list[str]:
    """Return, for each example, a URL that shows its picture without a key for LINK_SECONDS."""
    base = (container().settings.public_url or request.root_url).rstrip("/")
    expires = signed_urls.expiry(container(), caller(), LINK_SECONDS)
    paths = [
        f"{generation()}/vision/datasets/{example.dataset_id}/examples/{example.id}/picture" for example in examples
    ]
    signed = zip(paths, signed_urls.sign(container(), paths, expires), strict=True)
    return [f"{base}{path}?expires={expires}&signature={signature}" for path, signature in signed]


CALLS: Calls = (
    (LABELS_PATH, "POST", add_label),
    (ONE_LABEL, "GET", show_label),
    (f"{ONE_LABEL}/examples", "GET", list_of_label),
    (EXAMPLES_PATH, "POST", add_example),
    (EXAMPLES_PATH, "GET", list_examples),
    (ONE_EXAMPLE, "GET", show_example),
    (ONE_EXAMPLE, "DELETE", delete_example),
    (f"{ONE_EXAMPLE}/picture", "GET", show_picture),
    (FEEDBACK_PATH, "POST", correct),
)
