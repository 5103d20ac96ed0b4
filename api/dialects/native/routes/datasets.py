"""`/v1/datasets`: labelled pictures to train on, added as archives or singly."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import unquote, urlsplit

from flask import Blueprint, Response, jsonify, request
from flask.typing import ResponseReturnValue

from api import reading
from api.context import caller, container, scope, waited
from api.dialects.native.requests import common
from api.dialects.native.serializers import datasets_and_trainings
from api.reading import Fields
from shared import errors
from shared.adapters import http_fetch
from shared.domain.datasets import (
    LONGEST_NAME,
    Dataset,
    DatasetExample,
    DatasetState,
    Source,
    Split,
    file_name,
    normalize_name,
)
from shared.domain.pictures import Picture, Upload
from shared.imaging import archives, images
from shared.services import dataset_import, datasets

bp = Blueprint("native-datasets", __name__)

AGAIN = "2"
"""Seconds until a client should poll a loading dataset again."""
_ONE = f"/v1/datasets/<reference>/examples/<int(max={common.LARGEST_ID}):example_id>"
_EXTENSION = re.compile(r"(\.tar)?\.(zip|tar|tgz|gz)$", re.IGNORECASE)


@bp.post("/v1/datasets")
@scope("models")
def create() -> ResponseReturnValue:
    """Create a dataset from an archive of label folders, uploaded or behind a URL; or empty, with or without labels.

    201 once it is ready, 202 while it is loading; an archive that proves unreadable within the wait is a 400, and the
    dataset is deleted.
    """
    common.refuse_idempotency_key()
    seconds, tenant = common.preferred_wait(), caller().tenant
    if reading.is_json(request):
        fields = common.json_fields()
        url, labels = _url(fields), common.texts(fields, "labels")
        if url and labels:
            raise errors.BadOption("name either the url of an archive, whose folders are the labels, or labels")
        name = fields.text("name") or (_stem(url) if url else "")
        made = datasets.create(container(), tenant, name, source=url, labels=labels, unique=True)
    else:
        with _archive() as (name, source):
            made = datasets.create(container(), tenant, name, source=source, unique=True)
    loaded = _loaded(made, seconds)
    if reason := _complaint(loaded):
        datasets.delete(container(), tenant, loaded.id)
        raise errors.BadDataset(reason)
    return _begun(loaded, 201)


@bp.get("/v1/datasets")
def listing() -> ResponseReturnValue:
    """List the datasets, newest first, in pages; `cursor` is the `next` of the page before."""
    fields = Fields(request.args)
    limit = common.limit(fields)
    found = datasets.list_page(container(), caller().tenant, before=common.numbered(fields), limit=limit + 1)
    page, labels = [dataset for dataset, _ in found], {dataset.id: known for dataset, known in found}
    return jsonify(common.page("datasets", page, limit, lambda one: datasets_and_trainings.listed(one, labels[one.id])))


@bp.get("/v1/datasets/<reference>")
def show(reference: str) -> ResponseReturnValue:
    """Return a dataset by id, or the newest of that name; `Prefer: wait=N` waits for the end of its loading."""
    return _answer(_loaded(_find(reference), common.preferred_wait()), 200)


@bp.delete("/v1/datasets/<reference>")
@scope("models")
def remove(reference: str) -> ResponseReturnValue:
    """Delete a dataset; 202, as its pictures are removed in the background before the dataset itself."""
    return _answer(datasets.delete(container(), caller().tenant, _find(reference).id), 202)


@bp.post("/v1/datasets/<reference>/archive")
@scope("models")
def add_archive(reference: str) -> ResponseReturnValue:
    """Load more pictures: 202, or 200 when they are loaded within the wait; existing pictures stay in any case."""
    seconds, found = common.preferred_wait(), _find(reference)
    if reading.is_json(request):
        url = _url(common.json_fields())
        if not url:
            raise errors.NoInput("Send an archive as `file`, or name the `url` of one.")
        begun = datasets.add_archive(container(), found.tenant, found.id, url)
    else:
        with _archive() as (_, source):
            begun = datasets.add_archive(container(), found.tenant, found.id, source)
    loaded = _loaded(begun, seconds)
    if reason := _complaint(loaded):
        raise errors.BadDataset(reason)
    return _begun(loaded, 200)


# labels


@bp.get("/v1/datasets/<reference>/labels")
def labels(reference: str) -> ResponseReturnValue:
    """List the labels in the order of their ids, which is the order of the logits of models trained on them."""
    found = datasets.labels(container(), caller().tenant, _find(reference).id)
    return jsonify(labels=[datasets_and_trainings.label(label) for label in found])


@bp.post("/v1/datasets/<reference>/labels")
@scope("models")
def add_label(reference: str) -> ResponseReturnValue:
    """Create a label without examples; 201."""
    found = _find(reference)
    name = common.json_fields().text("name")
    return jsonify(datasets_and_trainings.label(datasets.add_label(container(), found.tenant, found.id, name))), 201


# examples


@bp.get("/v1/datasets/<reference>/examples")
def examples(reference: str) -> ResponseReturnValue:
    """List the examples, oldest first, in pages; `source` and `label` filter the list."""
    fields, found = Fields(request.args), _find(reference)
    limit, source = common.limit(fields), fields.text("source").lower()
    if source and source not in list(Source):
        raise errors.BadOption(f"source must be one of {', '.join(Source)}, not {source!r}")
    label_id = _label_id(found, fields.text("label")) if fields.has("label") else None
    after = common.numbered(fields) or 0
    page = datasets.list_examples(container(), found, source=source, label_id=label_id, after=after, limit=limit + 1)
    return jsonify(common.page("examples", page, limit, datasets_and_trainings.example))


@bp.post("/v1/datasets/<reference>/examples")
@scope("models")
def add_example(reference: str) -> ResponseReturnValue:
    """Add one picture with its label; 201."""
    found = _find(reference)
    if not reading.is_multipart(request):
        raise errors.NoInput("Send the picture as multipart form data, in `file`, with the name of its `label`.")
    fields = Fields(request.form, request.args)
    split = fields.text("split").lower()
    if split not in list(Split):
        raise errors.BadOption("split must be training, validation or test; leave it out to have it dealt out")
    label_id = _label_id(found, common.needed(fields, "label", "the name of a label of the dataset"))
    made = datasets.add_example(container(), found.tenant, found.id, label_id, _picture(), split=Split(split))
    return jsonify(datasets_and_trainings.example(made)), 201, {"Location": datasets_and_trainings.example_path(made)}


@bp.get(_ONE)
def show_example(reference: str, example_id: int) -> ResponseReturnValue:
    """Return the description of one example."""
    return jsonify(datasets_and_trainings.example(_example(reference, example_id)))


@bp.delete(_ONE)
@scope("models")
def remove_example(reference: str, example_id: int) -> ResponseReturnValue:
    """Remove an example; versions of the dataset that were trained on keep it. 204."""
    datasets.remove_example(container(), caller().tenant, _find(reference).id, example_id)
    return "", 204


@bp.get(f"{_ONE}/picture")
def picture(reference: str, example_id: int) -> ResponseReturnValue:
    """Return the bytes of an example as they were uploaded."""
    found = _example(reference, example_id)
    try:
        data = container().storage.read(found.blob, found.offset, found.size)
    except FileNotFoundError:  # its dataset is being deleted
        raise errors.NotFound(f"The picture of example {example_id} is gone.") from None
    response = Response(data, mimetype=images.media_type(data))
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Cache-Control"] = "private, max-age=86400"
    response.set_etag(found.sha256)
    return response.make_conditional(request)


def _find(reference: str) -> Dataset:
    return datasets.get_by_reference(container(), caller().tenant, reference)


def _example(reference: str, example_id: int) -> DatasetExample:
    found = _find(reference)
    return datasets.example(container(), found.tenant, found.id, example_id)


def _label_id(dataset: Dataset, name: str) -> int:
    return datasets.label_named(container(), dataset.tenant, dataset.id, name).id


def _loaded(dataset: Dataset, seconds: float) -> Dataset:
    if dataset.state is not DatasetState.LOADING:
        return dataset
    return waited(dataset, seconds, lambda most: datasets.until_loaded(container(), dataset, most))


def _complaint(dataset: Dataset) -> str:
    """Return why the archive could not be read; empty while the dataset loads, and for a readable archive."""
    return "" if dataset.state is DatasetState.LOADING else dataset.message


def _begun(dataset: Dataset, done: int) -> Response:
    """Return the answer to a request that starts loading: 202, or the status `done` once loading has ended."""
    response = _answer(dataset, 202 if dataset.state is DatasetState.LOADING else done)
    response.headers["Location"] = f"/v1/datasets/{dataset.id}"
    return response


def _answer(dataset: Dataset, status: int) -> Response:
    labels = datasets.list_labels(container(), dataset)
    response = jsonify(datasets_and_trainings.dataset(dataset, labels))
    response.status_code = status
    if dataset.state is DatasetState.LOADING:
        response.headers["Retry-After"] = AGAIN
    return response


def _url(fields: Fields) -> str:
    """Return the URL of an archive, empty without the field; raises BadOption, BadUrl."""
    url = fields.raw("url") or ""
    if not isinstance(url, str):
        raise errors.BadOption("url must be a text")
    if url:
        http_fetch.check_url(url, allow_private=container().settings.fetch_private)
    return url


@contextmanager
def _archive() -> Iterator[tuple[str, str]]:
    """Yield (name of the dataset, storage key of the uploaded archive); the archive is deleted if the block fails.

    Raises NoInput, TooManyFiles, BadArchive.
    """
    name, upload = _uploaded()
    head = upload.stream.read(archives.HEAD)
    upload.stream.seek(0)
    sort = archives.kind(head)
    if head and sort not in archives.TAKEN:
        found = f"a {sort} archive" if sort else "no archive"
        raise errors.BadArchive(f"{upload.name!r} is {found}. Pack the label folders as zip, tar or tar.gz.")
    key = dataset_import.keep_upload(container(), upload.stream)
    try:
        yield name, key
    except BaseException:
        container().storage.delete(key)
        raise


def _uploaded() -> tuple[str, Upload]:
    """Return (name of the dataset, its archive), from the only file of a multipart body, or any other body."""
    if reading.is_multipart(request):
        upload = _only("an archive of label folders")
        return Fields(request.form, request.args).text("name") or _stem(upload.name), upload
    body = reading.body(request, "the body")
    if body is None:
        raise errors.NoInput("Send an archive of label folders as `file`, or JSON with its `url` or with `labels`.")
    return Fields(request.args).text("name"), body


def _picture() -> Picture:
    limits = reading.limits(container().settings)
    upload = _only("a picture")
    return images.check(upload.name, upload.stream.read(limits.max_bytes + 1), limits)


def _only(what: str) -> Upload:
    """Return the only file part of a multipart body; raises NoInput, TooManyFiles."""
    uploads = list(reading.files(request, "file"))
    if not uploads:
        raise errors.NoInput(f"The request carries no file. Send {what} as `file`.")
    if len(uploads) > 1:
        raise errors.TooManyFiles(f"The request carries {len(uploads)} files. Send {what} as `file`, and nothing else.")
    return uploads[0]


def _stem(path: str) -> str:
    """Return the name of a file without folders, extension or query, the default name of a dataset.

    The result is always a valid name of a dataset: it is shortened, and `dataset` where nothing is left.
    """
    file = re.split(r"[/\\]", unquote(urlsplit(path).path) if "://" in path else path)[-1]
    stem = normalize_name(_EXTENSION.sub("", file))
    return file_name(stem[:LONGEST_NAME]).strip() or "dataset"
