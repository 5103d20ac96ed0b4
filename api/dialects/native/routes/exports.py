"""`/v1/models/{name}/versions/{version}/export`: the files of a version in a zip, which an import takes again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from itertools import chain

from flask import Response, request
from flask.typing import ResponseReturnValue

from api import streamed_zip
from api.context import caller, container, waited
from api.dialects.native.openapi.operations import IF_NONE_MATCH, Media, OperationsBlueprint, operation
from api.dialects.native.requests.common import parse
from shared import errors
from shared.container import Container
from shared.domain.model_exports import (
    DESCRIPTION,
    EVIDENCE,
    EXAMPLE,
    LABELS,
    ExportFormat,
    describe,
    labels_text,
    metadata_entry,
)
from shared.domain.models import ModelVersion
from shared.schemas import models as schemas
from shared.services import model_exports, models

bp = OperationsBlueprint("native-exports", __name__)


@bp.get("/v1/models/<name>/versions/<version>/export")
@operation(
    "exportVersion",
    "Models",
    {
        200: (f"A zip with `{DESCRIPTION}`, `{LABELS}`, the weights, and the evidence.", Media(["application/zip"])),
        304: ("Nothing has changed since that `ETag`.", None),
    },
    query=schemas.ExportQuery,
    headers=[IF_NONE_MATCH],
)
async def export(name: str, version: str) -> ResponseReturnValue:
    """Export a version.

    Its weights, labels, preprocessing and evidence, in a zip that an import takes as it is. The first export as ONNX
    has a worker convert the weights: 409 `model_not_ready` with `Retry-After` while that takes longer than the request
    is held. 409 `conflict` if they cannot be converted, with the reason.
    """
    kind = ExportFormat(parse(schemas.ExportQuery, request.args).format)
    made = container()
    chosen = model_exports.find_version(made, caller().tenant, name, version)
    weights = model_exports.request_weights(made, chosen, kind)
    if not weights.ready and not weights.failure:
        asked = weights
        weights = await waited(
            asked, made.settings.max_wait, lambda most: model_exports.wait(made, chosen, asked, most)
        )
    model_exports.must_be_ready(made, chosen, weights)
    try:
        small = _small_files(made, caller().tenant, chosen)
        pieces = _opened(made, weights.key)
    except FileNotFoundError:
        raise errors.Conflict(
            f"Model {chosen.name} version {chosen.version} cannot be exported: the storage has lost a file of it. "
            "Import it again."
        ) from None
    tag = hashlib.sha256(b"".join([kind.value.encode(), *small.values()])).hexdigest()[:32]
    described = metadata_entry(describe(chosen)) if kind is ExportFormat.ONNX else b""
    members = chain(
        ((name, [data]) for name, data in small.items()),
        [(kind.weights_name, chain(pieces, [described]))],
    )
    response = Response(streamed_zip.stream(members, chosen.created_at), mimetype="application/zip")
    response.headers["Content-Disposition"] = f'attachment; filename="{chosen.name}-{chosen.version}-{kind}.zip"'
    response.set_etag(tag)
    return response.make_conditional(request)


def _small_files(made: Container, tenant: str, chosen: ModelVersion) -> dict[str, bytes]:
    """Return name -> contents of all files but the weights."""
    described = json.dumps(describe(chosen), ensure_ascii=False, indent=2).encode()
    files = {DESCRIPTION: described, LABELS: labels_text(chosen.labels).encode()}
    if chosen.example:
        files[EXAMPLE] = made.storage.read(chosen.example.blob)
    _, training = models.get_with_training(made, tenant, chosen.name, chosen.version)
    if training and training.evidence:
        files[EVIDENCE] = json.dumps(dict(training.evidence), ensure_ascii=False, indent=2).encode()
    return files


def _opened(made: Container, key: str) -> Iterator[bytes]:
    """Return the pieces of a blob, the first of which is read already: an error then still has a status."""
    pieces = made.storage.pieces(key)
    return chain([next(pieces, b"")], pieces)
