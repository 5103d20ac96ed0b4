"""Similarity scoring: multipart `texts` or `files` with vectors in, the most similar ones of each out.

`texts` is a JSON object of one group of `{"id", "vector"}`, which are compared with each other, or of two, where those
of the first are compared with those of the second. `files` is an archive for each group; a member is a vector as a JSON
list, and its name the id. `options` says how many are returned: `{"numSimilarVectors": 2}`. No model takes part, so
there is no job: the scores are computed while the request waits.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from email.utils import formatdate
from typing import Any

import msgspec
import uuid6
from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue

from api import reading, room
from api.context import caller, container, scope
from api.dialects.sap_leonardo.services import SIMILARITY, is_v1
from shared import errors
from shared.domain.pictures import Upload
from shared.imaging import archives
from shared.schemas import decoding

ALGORITHMS = ("naive", "matrix_mult", "clustering")
"""The documented algorithms; here all of them are exact, and so the same."""
MOST_PRODUCTS = 20_000_000_000
"""Products of numbers in one request: about a second of two cores."""
PER_SCORE = 1000
"""Products that take as long as to rank one score. It also bounds the scores in memory: vectors of one number have as
many scores as products."""
MOST_SCORES = 1_000_000
"""Scores in one answer."""
MOST_BYTES = 64 * 1024 * 1024
"""Bytes of all vectors of one archive, unpacked."""
_VECTOR_BYTES = 1024 * 1024
MOST_WAITING = 16
"""Requests of a process that wait for each other; more would take the threads from all other requests."""
_PLACES = threading.BoundedSemaphore(MOST_WAITING)
_ALONE = threading.Lock()
"""Held by the request whose vectors are read and compared: together they would not be ready sooner, and need more
memory."""


class Vector(msgspec.Struct):
    """A vector with the id by which the answer names it."""

    id: str | int
    vector: list[float]


Group = list[Vector]


def add_routes(bp: Blueprint) -> None:
    """Add the paths of all generations to the blueprint of this wire."""
    for path in SIMILARITY:
        bp.add_url_rule(path, f"score-{path}", score, methods=["POST"])


@room.keeps_nothing
@scope("infer")
def score() -> ResponseReturnValue:
    """Return the most similar vectors of each vector, the most similar first, in the style of the path."""
    options = reading.Fields(request.form).mapping("options")
    most = _most(options)
    with _turn():
        groups = _groups()
        _check(groups, most)
        predictions = _predictions(groups, most)
    return jsonify(_body([part.name for part in _uploads()], options, predictions))


@contextmanager
def _turn() -> Iterator[None]:
    """Run the block while no other request does; raises Overloaded if too many wait for that."""
    if not _PLACES.acquire(blocking=False):
        raise errors.Overloaded("Too many vectors wait to be compared; send them again soon.")
    try:
        with _ALONE:
            yield
    finally:
        _PLACES.release()


def _most(options: dict[str, Any]) -> int:
    fields = reading.Fields(options)
    if not fields.has("numSimilarVectors"):
        raise errors.BadOption('options must say how many vectors are wanted, as {"numSimilarVectors": 2}')
    most = fields.whole("numSimilarVectors", 0)
    if most < 1:
        raise errors.BadOption(f"numSimilarVectors must be a whole number, at least 1, not {most}")
    if (algorithm := fields.text("algorithm", ALGORITHMS[0])) not in ALGORITHMS:
        raise errors.BadOption(f"algorithm must be one of {', '.join(ALGORITHMS)}, not {algorithm!r}")
    return most


def _uploads() -> list[Upload]:
    return list(reading.files(request))


def _groups() -> list[Group]:
    """Return the one or two groups of the request; raises BadRequest and its kinds."""
    texts = request.form.get("texts", "").strip()
    if texts and request.files:
        raise errors.BadRequest("There are vectors in `texts` and in `files`. Send one of them.")
    if request.files:
        uploads = _uploads()
        _check_count(len(uploads))  # before they are unpacked: each may be large then
        return [list(_unpacked(upload)) for upload in uploads]
    if not texts:
        raise errors.NoInput("There are no vectors. Send them as JSON in `texts`, or as an archive in `files`.")
    groups = _from_texts(texts)
    _check_count(len(groups))
    return groups


def _check_count(groups: int) -> None:
    if groups > 2:
        raise errors.BadRequest(f"There are {groups} groups of vectors. Send one, or two to compare.")


def _from_texts(texts: str) -> list[Group]:
    try:
        named = decoding.decode(dict[str, list[Vector]], texts)
    except msgspec.ValidationError as error:
        raise errors.BadRequest(f"`texts` must be groups of objects with `id` and `vector`: {error}.") from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise errors.BadRequest(f"`texts` is not valid JSON: {error}.") from None
    return list(named.values())


def _unpacked(upload: Upload) -> Iterator[Vector]:
    """Yield the vectors of an archive; raises BadArchive and its kinds, and BadRequest that names the member."""
    sort = archives.kind(upload.stream.read(archives.HEAD))
    upload.stream.seek(0)
    if sort not in archives.TAKEN:
        raise errors.NotAPicture(f"{upload.prefix}{upload.name!r} is no archive of vectors.")
    members = archives.members(
        upload.stream,
        max_files=container().settings.max_files,
        max_unpacked=MOST_BYTES,
        max_member=_VECTOR_BYTES,
        folders=False,
    )
    for name, data in members:
        try:
            yield Vector(name, decoding.decode(list[float], data))
        except (msgspec.DecodeError, RecursionError) as error:
            raise errors.BadRequest(f"{upload.prefix}{name!r} is not a list of numbers in JSON: {error}.") from None


def _check(groups: Sequence[Group], most: int) -> None:
    """Raise BadRequest unless all vectors have the same length; TooLarge if they are too many to be compared."""
    vectors = [vector for group in groups for vector in group]
    if not all(groups) or not vectors:
        raise errors.NoInput("A group holds no vector. Send at least one in each.")
    length = len(vectors[0].vector)
    for vector in vectors:
        if not vector.vector:
            raise errors.BadRequest(f"The vector {vector.id!r} is empty.")
        if len(vector.vector) != length:
            raise errors.BadRequest(
                f"The vector {vector.id!r} has {len(vector.vector)} numbers, and {vectors[0].id!r} has {length}; all "
                "must have the same."
            )
    queries, rows = len(groups[0]), len(groups[-1])
    if queries * rows * (length + PER_SCORE) > MOST_PRODUCTS:
        raise errors.TooLarge(f"{queries} x {rows} vectors of {length} numbers are too many. Send fewer at once.")
    if queries * min(most, rows) > MOST_SCORES:
        raise errors.TooLarge(f"The answer would have more than {MOST_SCORES} scores. Ask for fewer similar vectors.")


def _predictions(groups: Sequence[Group], most: int) -> list[dict[str, Any]]:
    """Return the most similar vectors of each; raises BadRequest for a number that is too large."""
    # Imported here: most API processes are never sent vectors, and NumPy would take memory in each of them.
    import numpy as np

    from shared.similarity import nearest, unit

    arrays = [np.array([vector.vector for vector in group], dtype=np.float64) for group in groups]
    if not all(np.isfinite(array).all() for array in arrays):
        raise errors.BadRequest("A vector has a number that is too large.")
    units = [unit(array) for array in arrays]
    found = nearest(units[0], units[-1], most, without_itself=len(units) == 1)
    names = [vector.id for vector in groups[-1]]
    return [
        {"id": query.id, "similarVectors": [{"id": names[number], "score": score} for number, score in neighbours]}
        for query, neighbours in zip(groups[0], found, strict=True)
    ]


def _body(files: list[str], options: dict[str, Any], predictions: list[dict[str, Any]]) -> dict[str, Any]:
    first, processed = ("_id", "processed_time") if is_v1() else ("id", "processedTime")
    tenant = caller().tenant
    return {
        first: str(uuid6.uuid7()),
        "predictions": predictions,
        processed: formatdate(container().now(), usegmt=True),
        "request": {"files": files, "options": options, "tenantName": tenant, "texts": []},
        "status": "DONE",
        "tenantName": tenant,
    }
