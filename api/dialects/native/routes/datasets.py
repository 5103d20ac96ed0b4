"""`/v1/datasets`: labelled pictures to train on, added as archives or singly."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import unquote, urlsplit

from flask import Response, request

from api import reading
from api.context import caller, container, link, scope, waited
from api.dialects.native.openapi.operations import (
    WAIT,
    Body,
    OperationsBlueprint,
    operation,
)
from api.dialects.native.requests import common
from api.dialects.native.requests.common import parse, parse_json, preferred_wait
from api.dialects.native.serializers import datasets as serializers
from api.dialects.native.serializers.common import cut, respond
from shared import errors
from shared.adapters import http_fetch
from shared.domain.datasets import LONGEST_NAME, Dataset, DatasetState, file_name, normalize_name
from shared.domain.models import ProblemType
from shared.domain.pictures import Upload
from shared.imaging import archives
from shared.schemas import datasets as schemas
from shared.services import dataset_import, datasets

bp = OperationsBlueprint("native-datasets", __name__)

POLL_AGAIN = 2
"""Seconds until a client should poll a loading dataset again."""
_EXTENSION = re.compile(r"(\.tar)?\.(zip|tar|tgz|gz|tbz2?|bz2|txz|xz)$", re.IGNORECASE)
_LOADING = ("It is still being loaded; look again after `Retry-After`.", schemas.Dataset)
_RAW_ARCHIVE = f"An archive of label folders, or of pictures with a table of labels: {archives.TAKEN_NAMES}."


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

    From an archive, uploaded or behind a URL, or empty, with labels or without. A table in the archive may give each
    picture any number of labels; the dataset is then multi-label. Duplicates are left out and
    counted, unusable files are listed with their reasons. An archive that proves unreadable within the wait is a 400
    and leaves nothing behind. An `Idempotency-Key` is refused: it is for jobs only.
    """
    common.refuse_idempotency_key()
    seconds, tenant = preferred_wait(), caller().tenant
    if reading.is_json(request):
        wanted = parse_json(schemas.DatasetRequest)
        url, labels = _checked(wanted.url), wanted.labels
        if url and labels:
            raise errors.BadOption("name either the url of an archive, whose folders are the labels, or labels")
        name = wanted.name or (_stem(url) if url else "")
        asked = _problem_type(wanted.problem_type)
        dataset = datasets.create(container(), tenant, name, source=url, labels=labels, problem_type=asked, unique=True)
    else:
        with _archive() as (name, asked, source):
            dataset = datasets.create(container(), tenant, name, source=source, problem_type=asked, unique=True)
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
    held = {dataset.id: inventory for dataset, inventory in rows}
    page, following = cut([dataset for dataset, _ in rows], query.limit)
    listed = [serializers.dataset(dataset, held[dataset.id], schemas.LISTED) for dataset in page]
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
        with _archive(named=False) as (_, _, source):
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


def _get(reference: str) -> Dataset:
    return datasets.get_by_reference(container(), caller().tenant, reference)


def _problem_type(asked: str) -> ProblemType | None:
    return ProblemType(asked) if asked else None


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
    held = datasets.inventory(container(), dataset)
    again = POLL_AGAIN if dataset.state is DatasetState.LOADING else 0
    return respond(serializers.dataset(dataset, held), status, retry_after=again)


def _checked(url: str) -> str:
    """Return the URL of an archive; raises BadUrl if it may not be fetched."""
    if url:
        http_fetch.check_url(url, allow_private=container().settings.fetch_private)
    return url


@contextmanager
def _archive(*, named: bool = True) -> Iterator[tuple[str, ProblemType | None, str]]:
    """Yield (name of the dataset, the problem type that is asked for, storage key of the uploaded archive); the archive
    is deleted if the block fails.

    Raises BadOption, NoInput, TooManyFiles, BadArchive.
    """
    name, asked, upload = _uploaded(named)
    head = upload.stream.read(archives.HEAD)
    upload.stream.seek(0)
    sort = archives.kind(head)
    if head and sort not in archives.TAKEN:
        content = f"a {sort} archive" if sort else "no archive"
        raise errors.BadArchive(f"{upload.name!r} is {content}. Pack the label folders as {archives.TAKEN_NAMES}.")
    key = dataset_import.keep_upload(container(), caller().tenant, upload.stream)
    try:
        yield name, asked, key
    except BaseException:
        container().storage.delete(key)
        raise


def _uploaded(named: bool) -> tuple[str, ProblemType | None, Upload]:
    """Return (name of the dataset, problem type, its archive), from the only file of a multipart body, or any other
    body.

    Unless `named`, the archive belongs to an existing dataset, and a name is refused.
    """
    if reading.is_multipart(request):
        sources = (request.form, request.args)
        wanted = parse(schemas.DatasetForm, *sources) if named else parse(schemas.ArchiveForm, *sources)
        upload = common.only_file("an archive of label folders")
        if isinstance(wanted, schemas.ArchiveForm):
            return "", None, upload
        return wanted.name or _stem(upload.name), _problem_type(wanted.problem_type), upload
    if not named:
        common.refuse_unknown((), request.args)
    query = parse(schemas.RawDataset, request.args) if named else schemas.RawDataset()
    body = reading.body(request, "the body")
    if body is None:
        raise errors.NoInput("Send an archive of label folders as `file`, or JSON with its `url` or with `labels`.")
    return query.name, _problem_type(query.problem_type), body


def _stem(path: str) -> str:
    """Return the name of a file without folders, extension or query, the default name of a dataset.

    The result is always a valid name of a dataset: it is shortened, and `dataset` where nothing is left.
    """
    file = re.split(r"[/\\]", unquote(urlsplit(path).path) if "://" in path else path)[-1]
    stem = normalize_name(_EXTENSION.sub("", file))
    return file_name(stem[:LONGEST_NAME]).strip() or "dataset"
