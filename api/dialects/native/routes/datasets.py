"""`/v1/datasets`: labelled pictures to train on, added as archives or singly."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import unquote, urlsplit

from flask import Response, request
from flask.typing import ResponseReturnValue

from api import reading
from api.context import caller, container, link, scope, waited
from api.dialects.native.openapi.operations import (
    IF_NONE_MATCH,
    WAIT,
    Body,
    Media,
    OperationsBlueprint,
    operation,
)
from api.dialects.native.requests import common
from api.dialects.native.requests.common import parse, parse_json, preferred_wait
from api.dialects.native.serializers import datasets as serializers
from api.dialects.native.serializers.common import cut, respond
from shared import errors
from shared.adapters import http_fetch
from shared.domain.datasets import LONGEST_NAME, Dataset, DatasetExample, DatasetState, Split, file_name, normalize_name
from shared.domain.pictures import Picture, Upload
from shared.imaging import archives, images
from shared.schemas import datasets as schemas
from shared.services import dataset_import, datasets

bp = OperationsBlueprint("native-datasets", __name__)

POLL_AGAIN = 2
"""Seconds until a client should poll a loading dataset again."""
_ONE = f"/v1/datasets/<reference>/examples/<int(max={common.LARGEST_ID}):example_id>"
_EXTENSION = re.compile(r"(\.tar)?\.(zip|tar|tgz|gz|tbz2?|bz2|txz|xz)$", re.IGNORECASE)
_LOADING = ("It is still being loaded; look again after `Retry-After`.", schemas.Dataset)
_RAW_ARCHIVE = f"An archive of label folders: {archives.TAKEN_NAMES}."


@bp.post("/v1/datasets")
@scope("models")
@operation(
    "createDataset",
    "Datasets",
    {201: ("It is ready.", schemas.Dataset), 202: _LOADING},
    body=Body(
        form=schemas.DatasetForm,
        json=schemas.DatasetRequest,
        raw=f"{_RAW_ARCHIVE} The name goes into the query.",
        raw_example="pictures.zip",
        query=schemas.RawDataset,
        example={"name": "ducks", "labels": ["mallard", "teal"]},
    ),
    headers=[WAIT],
)
async def create() -> Response:
    """Create a dataset.

    From an archive, uploaded or behind a URL, or empty, with labels or without. Duplicates are left out and counted,
    unusable files are listed with their reasons. An archive that proves unreadable within the wait is a 400 and leaves
    nothing behind. An `Idempotency-Key` is refused: it is for jobs only.
    """
    common.refuse_idempotency_key()
    seconds, tenant = preferred_wait(), caller().tenant
    if reading.is_json(request):
        wanted = parse_json(schemas.DatasetRequest)
        url, labels = _checked(wanted.url), wanted.labels
        if url and labels:
            raise errors.BadOption("name either the url of an archive, whose folders are the labels, or labels")
        name = wanted.name or (_stem(url) if url else "")
        dataset = datasets.create(container(), tenant, name, source=url, labels=labels, unique=True)
    else:
        with _archive() as (name, source):
            dataset = datasets.create(container(), tenant, name, source=source, unique=True)
    loaded = await _loaded(dataset, seconds)
    if reason := _failure(loaded):
        datasets.delete(container(), tenant, loaded.id)
        raise errors.BadDataset(reason)
    return _respond_started(loaded, 201)


@bp.get("/v1/datasets")
@operation("listDatasets", "Datasets", {200: ("A page.", schemas.DatasetPage)}, query=schemas.DatasetQuery)
def listing() -> Response:
    """List datasets.

    Newest first, in pages; `cursor` is the `next` of the page before.
    """
    query = parse(schemas.DatasetQuery, request.args)
    rows = datasets.list_page(
        container(), caller().tenant, before=common.cursor_number(query.cursor), limit=query.limit + 1
    )
    labels = {dataset.id: labels for dataset, labels in rows}
    page, following = cut([dataset for dataset, _ in rows], query.limit)
    listed = [serializers.dataset(dataset, labels[dataset.id], schemas.LISTED) for dataset in page]
    return respond(schemas.DatasetPage(datasets=listed, next=following))


@bp.get("/v1/datasets/<reference>")
@operation("getDataset", "Datasets", {200: ("The dataset.", schemas.Dataset)}, headers=[WAIT])
async def show(reference: str) -> Response:
    """Look at a dataset.

    Or wait for the end of its loading, with `Prefer: wait=N`.
    """
    return _respond(await _loaded(_get(reference), preferred_wait()), 200)


@bp.delete("/v1/datasets/<reference>")
@scope("models")
@operation("removeDataset", "Datasets", {202: ("It is being removed.", schemas.Dataset)})
def remove(reference: str) -> Response:
    """Remove a dataset.

    Its pictures are removed in the background, then the dataset itself. Models that were trained on it stay, with their
    evidence. 409 while it is loading, being trained on or compared on.
    """
    return _respond(datasets.delete(container(), caller().tenant, _get(reference).id), 202)


@bp.post("/v1/datasets/<reference>/archive")
@scope("models")
@operation(
    "addArchive",
    "Datasets",
    {200: ("The dataset.", schemas.Dataset), 202: _LOADING},
    body=Body(
        form=schemas.ArchiveForm,
        json=schemas.ArchiveRequest,
        raw=_RAW_ARCHIVE,
        raw_example="pictures.zip",
        example={"url": "https://example.org/ducks.zip"},
    ),
    headers=[WAIT],
)
async def add_archive(reference: str) -> Response:
    """Add an archive to a dataset.

    The pictures that it has stay in any case.
    """
    seconds, dataset = preferred_wait(), _get(reference)
    if reading.is_json(request):
        body = common.json_body()
        if not body.get("url"):
            raise errors.NoInput("Send an archive as `file`, or name the `url` of one.")
        url = _checked(parse(schemas.ArchiveRequest, body, request.args).url)
        started = datasets.add_archive(container(), dataset.tenant, dataset.id, url)
    else:
        with _archive(named=False) as (_, source):
            started = datasets.add_archive(container(), dataset.tenant, dataset.id, source)
    loaded = await _loaded(started, seconds)
    if reason := _failure(loaded):
        raise errors.BadDataset(reason)
    return _respond_started(loaded, 200)


@bp.get("/v1/datasets/<reference>/duplicates")
@operation("listDuplicates", "Datasets", {200: ("The groups.", schemas.DuplicateGroups)}, query=schemas.DuplicateQuery)
def duplicates(reference: str) -> Response:
    """List the near-duplicates of a dataset.

    Groups of pictures that were compressed, resized or cropped a little from each other. A training keeps a group of
    one label in one split, unless the dataset declares splits.
    """
    query = parse(schemas.DuplicateQuery, request.args)
    found = datasets.list_near_duplicates(container(), _get(reference), query.distance)
    return respond(serializers.duplicates(found, query.limit))


# labels


@bp.get("/v1/datasets/<reference>/labels")
@operation("listLabels", "Datasets", {200: ("The labels.", schemas.LabelList)})
def labels(reference: str) -> Response:
    """List the labels of a dataset.

    In the order of their ids, which is the order of the logits of models trained on them.
    """
    labels = datasets.labels(container(), caller().tenant, _get(reference).id)
    return respond(schemas.LabelList(labels=[serializers.label(label) for label in labels]))


@bp.post("/v1/datasets/<reference>/labels")
@scope("models")
@operation(
    "addLabel",
    "Datasets",
    {201: ("The label.", schemas.DatasetLabel)},
    body=Body(json=schemas.LabelRequest, example={"name": "teal"}),
)
def add_label(reference: str) -> Response:
    """Add a label to a dataset.

    Without examples.
    """
    dataset, wanted = _get(reference), parse_json(schemas.LabelRequest)
    return respond(serializers.label(datasets.add_label(container(), dataset.tenant, dataset.id, wanted.name)), 201)


# examples


@bp.get("/v1/datasets/<reference>/examples")
@operation("listExamples", "Datasets", {200: ("A page.", schemas.ExamplePage)}, query=schemas.ExampleQuery)
def examples(reference: str) -> Response:
    """List the examples of a dataset.

    Oldest first, in pages.
    """
    query, dataset = parse(schemas.ExampleQuery, request.args), _get(reference)
    label_id = _label_id(dataset, query.label) if query.label else None
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

    One picture with its label. 409 when the dataset has the picture already.
    """
    dataset = _get(reference)
    if not reading.is_multipart(request):
        raise errors.NoInput("Send the picture as multipart form data, in `file`, with the name of its `label`.")
    wanted = parse(schemas.ExampleForm, request.form, request.args)
    label_id = _label_id(dataset, wanted.label)
    example = datasets.add_example(
        container(), dataset.tenant, dataset.id, label_id, _picture(), split=Split(wanted.split)
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
    datasets.remove_example(container(), caller().tenant, _get(reference).id, example_id)
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
    try:
        data = container().storage.read(example.blob, example.offset, example.size)
    except FileNotFoundError:  # its dataset is being deleted
        raise errors.NotFound(f"The picture of example {example_id} has been removed.") from None
    response = Response(data, mimetype=images.media_type(data))
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Cache-Control"] = "private, max-age=86400"
    response.set_etag(example.sha256)
    return response.make_conditional(request)


def _get(reference: str) -> Dataset:
    return datasets.get_by_reference(container(), caller().tenant, reference)


def _example(reference: str, example_id: int) -> DatasetExample:
    dataset = _get(reference)
    return datasets.example(container(), dataset.tenant, dataset.id, example_id)


def _label_id(dataset: Dataset, name: str) -> int:
    return datasets.label_named(container(), dataset.tenant, dataset.id, name).id


async def _loaded(dataset: Dataset, seconds: float) -> Dataset:
    if dataset.state is not DatasetState.LOADING:
        return dataset
    return await waited(dataset, seconds, lambda most: datasets.until_loaded(container(), dataset, most))


def _failure(dataset: Dataset) -> str:
    """Return why the archive could not be read; empty while the dataset loads, and for a readable archive."""
    return "" if dataset.state is DatasetState.LOADING else dataset.message


def _respond_started(dataset: Dataset, done: int) -> Response:
    """Return the answer to a request that starts loading: 202, or the status `done` once loading has ended."""
    response = _respond(dataset, 202 if dataset.state is DatasetState.LOADING else done)
    response.headers["Location"] = link(f"/v1/datasets/{dataset.id}")
    return response


def _respond(dataset: Dataset, status: int) -> Response:
    labels = datasets.list_labels(container(), dataset)
    again = POLL_AGAIN if dataset.state is DatasetState.LOADING else 0
    return respond(serializers.dataset(dataset, labels), status, retry_after=again)


def _checked(url: str) -> str:
    """Return the URL of an archive; raises BadUrl if it may not be fetched."""
    if url:
        http_fetch.check_url(url, allow_private=container().settings.fetch_private)
    return url


@contextmanager
def _archive(*, named: bool = True) -> Iterator[tuple[str, str]]:
    """Yield (name of the dataset, storage key of the uploaded archive); the archive is deleted if the block fails.

    Raises BadOption, NoInput, TooManyFiles, BadArchive.
    """
    name, upload = _uploaded(named)
    head = upload.stream.read(archives.HEAD)
    upload.stream.seek(0)
    sort = archives.kind(head)
    if head and sort not in archives.TAKEN:
        content = f"a {sort} archive" if sort else "no archive"
        raise errors.BadArchive(f"{upload.name!r} is {content}. Pack the label folders as {archives.TAKEN_NAMES}.")
    key = dataset_import.keep_upload(container(), caller().tenant, upload.stream)
    try:
        yield name, key
    except BaseException:
        container().storage.delete(key)
        raise


def _uploaded(named: bool) -> tuple[str, Upload]:
    """Return (name of the dataset, its archive), from the only file of a multipart body, or any other body.

    Unless `named`, the archive belongs to an existing dataset, and a name is refused.
    """
    if reading.is_multipart(request):
        sources = (request.form, request.args)
        name = parse(schemas.DatasetForm, *sources).name if named else ""
        if not named:
            parse(schemas.ArchiveForm, *sources)
        upload = _only("an archive of label folders")
        return name or _stem(upload.name), upload
    name = parse(schemas.RawDataset, request.args).name if named else ""
    if not named:
        common.refuse_unknown((), request.args)
    body = reading.body(request, "the body")
    if body is None:
        raise errors.NoInput("Send an archive of label folders as `file`, or JSON with its `url` or with `labels`.")
    return name, body


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
