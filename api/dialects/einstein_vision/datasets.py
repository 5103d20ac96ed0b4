"""`/vision/datasets`: upload at once or in the background, create empty, show, list, add to, delete."""

from __future__ import annotations

import os
import posixpath
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import IO
from urllib.parse import unquote, urlsplit

from flask import jsonify, request
from flask.typing import ResponseReturnValue

from api import reading
from api.context import caller, container, scope, waiting_places
from api.dialects.einstein_vision import serializers
from api.dialects.einstein_vision.common import KINDS, Calls, deletion, form_fields, list_response, window
from api.reading import Fields
from shared import errors
from shared.adapters import http_fetch
from shared.domain.datasets import Dataset, DatasetState
from shared.domain.models import ProblemType
from shared.domain.sizes import exactly
from shared.domain.trainings import Training
from shared.services import dataset_import, datasets, models, trainings

DATASETS_PATH = "/vision/datasets"
ONE_DATASET = f"{DATASETS_PATH}/<einstein_number:dataset_id>"
MAX_ARCHIVE = 50 * 1024 * 1024
"""Most bytes of an archive that is uploaded, or fetched while the caller waits. An archive that is fetched in the
background may have as many as the service accepts."""
LONGEST_LABELS = 1000
"""Most characters of a list of labels. 250 are documented; older clients allow this many."""
LONGEST_FILE_NAME = 100
"""Most characters of an archive name that can become the name of a dataset."""
MOST = 25
"""Most datasets in one list."""
NEITHER = "Uploading a dataset requires either the 'data' field or the 'path' field."
BOTH = "The 'data' parameter cannot be duplicated, nor sent along with the 'path' parameter."
NAMELESS = "The 'name' parameter is required to create a dataset."
BUSY = "The dataset is not yet available for update, try again once the dataset is ready."
UNREACHABLE = "Failed to download the dataset from the public URL."


@scope("models")
async def upload_sync() -> ResponseReturnValue:
    """Return a dataset from an archive once it is ready for training; else 400 with the reason, and no dataset.

    If loading takes longer than a request may wait, the answer shows the dataset as it is, and loading continues.
    """
    fields, until = _archive_fields(), time.monotonic() + container().settings.max_wait
    with waiting_places().taken_or_refused():
        with _stored_archive(fields) as source:
            dataset = _create(fields, _name(fields), source=source)
        dataset = await datasets.until_loaded(container(), dataset, until - time.monotonic())
    if dataset.state is DatasetState.FAILED:
        datasets.delete(container(), dataset.tenant, dataset.id)
        raise errors.BadDataset(dataset.message)
    return _dataset_response(dataset)


@scope("models")
def upload() -> ResponseReturnValue:
    """Create a dataset from an archive that is read in the background."""
    fields = _archive_fields()
    with _archive_source(fields) as source:
        dataset = _create(fields, _name(fields), source=source)
    return _dataset_response(dataset)


@scope("models")
def add_archive(dataset_id: int) -> ResponseReturnValue:
    """Add pictures from an archive to a dataset; the archive is read in the background."""
    fields = _archive_fields()
    if datasets.get(container(), caller().tenant, dataset_id).state is DatasetState.LOADING:
        raise errors.BadOption(BUSY)
    with _archive_source(fields) as source:
        dataset = datasets.add_archive(container(), caller().tenant, dataset_id, source)
    return _dataset_response(dataset)


@scope("models")
def create() -> ResponseReturnValue:
    """Create an empty dataset with the given labels."""
    fields = form_fields()
    _problem_type(fields)
    if not fields.text("name"):
        raise errors.BadOption(NAMELESS)
    labels = fields.text("labels")
    if len(labels) > LONGEST_LABELS:
        raise errors.BadOption(f"labels may have {LONGEST_LABELS} characters in all; add the others one by one")
    names = [name.strip() for name in labels.split(",") if name.strip()]
    return _dataset_response(_create(fields, fields.text("name"), labels=names))


def show_dataset(dataset_id: int) -> ResponseReturnValue:
    """Return one dataset."""
    return _dataset_response(datasets.get(container(), caller().tenant, dataset_id))


def list_datasets() -> ResponseReturnValue:
    """Return the tenant's datasets, newest first. With `global` the list is empty: there are no shared datasets."""
    offset, count = window(MOST)
    if Fields(request.args).flag("global", False):
        return list_response([])
    page = datasets.list_page(container(), caller().tenant, offset=offset, limit=count)
    return list_response([serializers.dataset(dataset, held) for dataset, held in page])


@scope("models")
def delete_dataset(dataset_id: int) -> ResponseReturnValue:
    """Remove a dataset in the background; raises BadOption while a model of it exists."""
    tenant = caller().tenant
    models_by_version = {
        training.version_id: training.name for training in trained_on(dataset_id) if training.version_id
    }
    remaining = sorted(
        {
            models_by_version[version_id]
            for version_id in models.find_versions_by_id(container(), models_by_version.keys())
        }
    )
    if remaining:
        raise errors.BadOption(f"Delete the models of the dataset first: {', '.join(remaining[:5])}.")
    dataset = datasets.delete(container(), tenant, dataset_id)
    return deletion("DATASET", str(dataset.id), done=False, message=dataset.message)


def trained_on(dataset_id: int) -> Iterator[Training]:
    """Yield every past, running or queued training on a dataset of the caller, newest first."""
    before = ""
    while True:
        page = trainings.list_page(container(), caller().tenant, dataset_id=dataset_id, before=before)
        if not page:
            return
        yield from page
        before = page[-1].id


def _dataset_response(dataset: Dataset) -> ResponseReturnValue:
    return jsonify(serializers.dataset(dataset, datasets.inventory(container(), dataset)))


def _create(fields: Fields, name: str, *, source: str = "", labels: Sequence[str] = ()) -> Dataset:
    kind = _problem_type(fields)
    return datasets.create(container(), caller().tenant, name, source=source, labels=labels, problem_type=kind)


# requests


def _archive_fields() -> Fields:
    """Return the form of an upload with exactly one archive in it; raises BadOption in the vendor's words."""
    request.max_content_length = min(container().settings.max_body, MAX_ARCHIVE + reading.SMALL)
    fields = form_fields()
    _problem_type(fields)
    archives = len(request.files.getlist("data")) + bool(fields.text("path"))
    if archives != 1:
        raise errors.BadOption(BOTH if archives else NEITHER)
    return fields


def _problem_type(fields: Fields) -> ProblemType:
    """Return how many labels the pictures of the dataset have; raises BadOption for a type that is not served."""
    kind = fields.text("type", "image")
    if kind not in KINDS:
        raise errors.BadOption(f"type must be {' or '.join(KINDS)}, not {kind!r}: no objects are detected here")
    return KINDS[kind]


def _name(fields: Fields) -> str:
    """Return the name of the new dataset: the given name, else that of the archive, else `dataset`."""
    if named := fields.text("name"):
        return named
    part = request.files.get("data")
    file = reading.file_name(part) if part else unquote(urlsplit(fields.text("path")).path)
    stem = posixpath.splitext(posixpath.basename(file.rstrip("/")))[0].strip()
    return stem if 0 < len(stem) <= LONGEST_FILE_NAME and stem.isprintable() else "dataset"


@contextmanager
def _archive_source(fields: Fields) -> Iterator[str]:
    """Yield the source of the archive: the storage key of an upload, or a URL to fetch later; raises BadDataset."""
    url = fields.text("path")
    if not url:
        with _stored_archive(fields) as key:
            yield key
        return
    try:
        http_fetch.check_url(url, allow_private=container().settings.fetch_private)
    except errors.BadUrl as error:
        raise errors.BadDataset(UNREACHABLE) from error
    yield url


@contextmanager
def _stored_archive(fields: Fields) -> Iterator[str]:
    """Store the archive, uploaded or fetched now, and yield its key; it is deleted if the block fails."""
    url = fields.text("path")
    with _fetched_archive(url) if url else nullcontext(request.files["data"].stream) as file:
        size = file.seek(0, os.SEEK_END)
        if size > MAX_ARCHIVE:
            raise errors.TooLarge(f"An archive may have {exactly(MAX_ARCHIVE)}, not {exactly(size)}; send it in parts.")
        file.seek(0)
        key = dataset_import.keep_upload(container(), caller().tenant, file)
    try:
        yield key
    except BaseException:
        container().storage.delete(key)
        raise


@contextmanager
def _fetched_archive(url: str) -> Iterator[IO[bytes]]:
    settings = container().settings
    with tempfile.TemporaryFile() as file:
        try:
            http_fetch.fetch_to(
                url, file, max_bytes=MAX_ARCHIVE, timeout=settings.max_wait, allow_private=settings.fetch_private,
                on_progress=lambda done, total: None,
            )  # fmt: skip
        except errors.BadUrl as error:
            raise errors.BadDataset(UNREACHABLE) from error
        yield file


CALLS: Calls = (
    (f"{DATASETS_PATH}/upload/sync", "POST", upload_sync),
    (f"{DATASETS_PATH}/upload", "POST", upload),
    (DATASETS_PATH, "POST", create),
    (DATASETS_PATH, "GET", list_datasets),
    (ONE_DATASET, "GET", show_dataset),
    (ONE_DATASET, "DELETE", delete_dataset),
    (f"{ONE_DATASET}/upload", "PUT", add_archive),
)
