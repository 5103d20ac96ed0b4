"""`/v1/models/{name}/versions/{version}/export`: the files of a version in a zip, which an import takes again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from itertools import chain

from flask import Response, request
from flask.typing import ResponseReturnValue

from api import download_links, streamed_zip
from api.context import caller, container, waited
from api.dialects.native.openapi.operations import IF_NONE_MATCH, Body, Media, OperationsBlueprint, operation
from api.dialects.native.requests.common import parse, parse_optional_json
from api.dialects.native.serializers.common import respond
from api.download_links import downloadable
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
from shared.schemas.common import DownloadLink
from shared.services import absences, model_exports, models

bp = OperationsBlueprint("native-exports", __name__)


@bp.get("/v1/models/<name>/versions/<version>/export")
@downloadable
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
    chosen, weights = await _when_ready(name, version, kind)
    small, pieces = _contents(made, chosen, weights.key)
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


@bp.post("/v1/models/<name>/versions/<version>/export/link")
@operation(
    "linkExport",
    "Models",
    {200: ("The link.", DownloadLink)},
    body=Body(json=schemas.ExportLinkRequest, example={"format": "onnx"}),
)
async def link_export(name: str, version: str) -> ResponseReturnValue:
    """Link an export.

    A download link needs no key, so that a browser can save the file by itself. It is valid for five minutes. While
    the files in that format are being made, the call waits and answers as the export itself does.
    """
    wanted = parse_optional_json(schemas.ExportLinkRequest)
    chosen, weights = await _when_ready(name, version, ExportFormat(wanted.format))
    _contents(container(), chosen, weights.key)  # a browser that cannot save a file does not show why: say it here
    path = f"/v1/models/{chosen.name}/versions/{chosen.version}/export"
    return respond(download_links.make(path, format=wanted.format))


async def _when_ready(name: str, version: str, kind: ExportFormat) -> tuple[ModelVersion, model_exports.Weights]:
    """Return the version with its weights in that format, once a worker has converted them; raises as
    `must_be_ready`, NotFound, Conflict, BadOption."""
    made = container()
    chosen = model_exports.find_version(made, caller().tenant, name, version)
    weights = model_exports.request_weights(made, chosen, kind)
    if not weights.ready and not weights.failure:
        asked = weights
        weights = await waited(
            asked, made.settings.max_wait, lambda most: model_exports.wait(made, chosen, asked, most)
        )
    model_exports.must_be_ready(made, chosen, weights)
    return chosen, weights


def _contents(made: Container, chosen: ModelVersion, key: str) -> tuple[dict[str, bytes], Iterator[bytes]]:
    """Return the small files, and the pieces of the weights. Raises Conflict if the storage has lost a file, NotFound
    if the version was removed meanwhile, and Unavailable."""
    small = _small_files(made, caller().tenant, chosen)
    try:
        pieces = _opened(made, key)
    except FileNotFoundError:
        raise _lost(made, chosen, key) from None
    made.absences.forget(key)
    return small, pieces


def _small_files(made: Container, tenant: str, chosen: ModelVersion) -> dict[str, bytes]:
    """Return name -> contents of all files but the weights."""
    described = json.dumps(describe(chosen), ensure_ascii=False, indent=2).encode()
    files = {DESCRIPTION: described, LABELS: labels_text(chosen.labels).encode()}
    if chosen.example:
        try:
            files[EXAMPLE] = made.storage.read(chosen.example.blob)
        except FileNotFoundError:
            raise _lost(made, chosen, chosen.example.blob) from None
        made.absences.forget(chosen.example.blob)
    _, training = models.get_with_training(made, tenant, chosen.name, chosen.version)
    if training and training.evidence:
        files[EVIDENCE] = json.dumps(dict(training.evidence), ensure_ascii=False, indent=2).encode()
    return files


def _lost(made: Container, chosen: ModelVersion, key: str) -> errors.Conflict:
    """Return the error of a version of which the storage has lost a file; raises as `absences.confirm_loss`."""
    named = f"{chosen.name} version {chosen.version}"
    since = absences.confirm_loss(
        made, key, f"a file of {named}",
        lambda: model_exports.find_version(made, caller().tenant, chosen.name, chosen.version),
    )  # fmt: skip
    return errors.Conflict(
        f"Model {named} cannot be exported: the storage has lost a file of it, which is missing since {since}. Import "
        "it again."
    )


def _opened(made: Container, key: str) -> Iterator[bytes]:
    """Return the pieces of a blob, the first of which is read already: an error then still has a status."""
    pieces = made.storage.pieces(key)
    return chain([next(pieces, b"")], pieces)
