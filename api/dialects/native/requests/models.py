"""Parser of model imports: the files of the form, and what the import asks for."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager

from flask import request
from werkzeug.datastructures import FileStorage

from api import reading
from api.context import caller, container
from api.dialects.native.requests.common import find_dataset
from shared import errors
from shared.domain import labels as label_files
from shared.domain.models import PRETRAINED, ImportCheck, ImportOptions, ModelImport
from shared.domain.preprocessing import PreprocessingRequest, parse_request
from shared.domain.rejection import RejectionRequest, check_precision
from shared.domain.sizes import exactly
from shared.imaging import images
from shared.schemas.models import ModelRequest
from shared.services import dataset_import

FILES = ("weights", "labels", "preprocessing", "check")
"""The parts of a form that may be files."""
_LARGEST_JSON = 64 * 1024
"""Most bytes of a JSON file of preprocessing."""
_MAX_CHECKS = 100
_SINGLE_VALUES = (
    "resize", "crop", "mean", "std", "interpolation", "mode", "crop_mode", "channel_order", "scale", "crop_offset",
    "background", "color_profile",
)  # fmt: skip


def _preprocessing(wanted: ModelRequest) -> PreprocessingRequest | None:
    """Return the requested preprocessing: a preset's name or JSON, as a field or a file, and single values."""
    part = request.files.get("preprocessing")
    try:
        whole = _small_text(part.stream.read(_LARGEST_JSON + 1)) if part else wanted.preprocessing or None
    except UnicodeDecodeError:
        raise errors.BadOption("preprocessing must be a JSON file in UTF-8") from None
    return parse_request(whole, {name: getattr(wanted, name) for name in _SINGLE_VALUES})


def _small_text(data: bytes) -> str:
    if not data.strip() or len(data) > _LARGEST_JSON:
        raise errors.BadOption(f"the preprocessing file must hold a JSON object of at most {exactly(_LARGEST_JSON)}")
    return data.decode("utf-8-sig")


def _labels(wanted: ModelRequest) -> tuple[str, ...]:
    """Return the labels of a text or file, or `imagenet` alone; empty for those that belong to the weights."""
    part = request.files.get("labels")
    data = part.stream.read(label_files.MAX_BYTES + 1) if part else wanted.labels.encode("utf-8", "replace")
    return label_files.parse(data, reading.file_name(part) if part else "labels") if data.strip() else ()


@contextmanager
def kept_files(wanted: ModelRequest) -> Iterator[ModelImport]:
    """Store weights and pictures of the form for a worker, and yield the import.

    Its source is PRETRAINED without a file. What was stored is deleted if the block raises. Raises BadOption.
    """
    kept: list[str] = []
    try:
        labels, preprocessing = _labels(wanted), _preprocessing(wanted)
        thresholds, rejection = _thresholds(wanted.threshold), _rejection(wanted)
        options = ImportOptions(wanted.state_key, wanted.problem_type, thresholds, _checks(kept), rejection)
        source = _keep(request.files.get("weights"), kept) or PRETRAINED
        if source == PRETRAINED and (options.checks or options.state_key):
            raise errors.BadOption("check and state_key are for imported weights, but there is no part `weights`")
        size = sum(map(container().storage.size, kept))
        yield ModelImport(source, labels, preprocessing, options if options != ImportOptions() else None, size)
    except BaseException:
        for key in kept:
            container().storage.delete(key)
        raise


def _rejection(wanted: ModelRequest) -> RejectionRequest | None:
    """Return the rejection rule that is to be fitted; None without one. Raises BadOption, NotFound."""
    dataset = find_dataset(wanted.reject_on)
    if wanted.reject_below_precision == "" and dataset is None and not wanted.unknown_label:
        return None
    if wanted.reject_below_precision == "" or dataset is None:
        raise errors.BadOption(
            "a rejection rule needs both reject_below_precision and reject_on, the dataset on which it is fitted"
        )
    try:
        precision = float(wanted.reject_below_precision)
    except ValueError:
        raise errors.BadOption(
            f"reject_below_precision must be a number, not {wanted.reject_below_precision!r}"
        ) from None
    check_precision("reject_below_precision", precision)
    return RejectionRequest(precision, dataset.id, wanted.unknown_label)


def _keep(part: FileStorage | None, kept: list[str]) -> str:
    """Store one file unchecked, and return its key; empty without a file. Raises BadWeights if it is empty."""
    if part is None:
        return ""
    try:
        kept.append(dataset_import.keep_upload(container(), caller().tenant, part.stream))
    except errors.NoInput:
        raise errors.BadWeights(f"The file {reading.file_name(part)!r} is empty.") from None
    return kept[-1]


def _checks(kept: list[str]) -> tuple[ImportCheck, ...]:
    pictures, expected = request.files.getlist("check"), request.form.getlist("check_label")
    if len(pictures) != len(expected):
        raise errors.BadOption(
            f"there are {len(pictures)} pictures in check and {len(expected)} labels in check_label; give one label "
            "for each picture, in the same order"
        )
    if len(pictures) > _MAX_CHECKS:
        raise errors.BadOption(f"an import has at most {_MAX_CHECKS} checks, not {len(pictures)}")
    return tuple(_check(part, label, kept) for part, label in zip(pictures, expected, strict=True))


def _check(part: FileStorage, label: str, kept: list[str]) -> ImportCheck:
    """Store one picture, checked as those of jobs are; raises BadPicture and its kinds."""
    limits, name = reading.limits(container().settings), reading.file_name(part)
    picture = images.check(name, part.stream.read(limits.max_bytes + 1), limits)
    kept.append(dataset_import.keep_upload(container(), caller().tenant, io.BytesIO(picture.data)))
    return ImportCheck(kept[-1], name, label)


def _thresholds(value: str | float | list[float]) -> tuple[float, ...]:
    """Return thresholds, given as a number, a list, or numbers separated by commas; raises BadOption."""
    parts = re.split(r"[, ]+", value.strip()) if isinstance(value, str) else value
    items = parts if isinstance(parts, list) else [parts]
    try:
        numbers = tuple(float(item) for item in items if item != "")
    except (TypeError, ValueError):
        numbers = (-1.0,)
    if not all(0 <= number <= 1 for number in numbers):
        raise errors.BadOption(f"threshold must be a score from 0 to 1, or one for each label, not {value!r}")
    return numbers
