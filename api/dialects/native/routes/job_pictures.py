"""`/v1/jobs/ID/pictures`: the pictures of a job with their outcomes so far, and the pictures themselves, also small."""

from __future__ import annotations

from flask import Response, request
from flask.typing import ResponseReturnValue

from api.context import caller, container, held_threads, scope, thumbnail_places
from api.dialects.native.openapi.operations import IF_NONE_MATCH, Media, OperationsBlueprint, operation
from api.dialects.native.requests.common import cursor_number, parse
from api.dialects.native.serializers import jobs as serializers
from api.dialects.native.serializers.common import respond
from shared.errors import BadPicture
from shared.imaging import images, thumbnails
from shared.schemas.job_pictures import JobPicturePage, JobPictureQuery, ThumbnailQuery
from shared.services import job_pictures

PATIENCE = 3.0
"""Seconds for which a request waits while other pictures are made small."""
AGE = 3600
"""Seconds for which a client keeps a picture without asking again; it never changes."""

bp = OperationsBlueprint("native-job-pictures", __name__)


@bp.get("/v1/jobs/<job_id>/pictures")
@scope("infer")
@operation("listJobPictures", "Jobs", {200: ("A page.", JobPicturePage)}, query=JobPictureQuery)
def listing(job_id: str) -> Response:
    """List the pictures of a job.

    Each with its outcome, or its status while it has none, in pages; `cursor` is the `next` of the page before. Suited
    to looking at a job of thousands while it runs; `links.results` streams all of them.
    """
    query = parse(JobPictureQuery, request.args)
    after = cursor_number(query.cursor)
    start = 0 if after is None else after + 1
    job, items = job_pictures.list_page(
        container(), caller().tenant, job_id, failed=query.failed, start=start, limit=query.limit + 1
    )
    page = items[: query.limit]
    following = str(page[-1].position) if len(items) > query.limit else None
    return respond(
        JobPicturePage(pictures=[serializers.streamed_prediction(job, item) for item in page], next=following)
    )


@bp.get("/v1/jobs/<job_id>/pictures/<int:position>")
@scope("infer")
@operation(
    "getJobPicture",
    "Jobs",
    {200: ("The bytes as they were sent.", Media(["image/*"])), 304: ("It has not changed.", None)},
    headers=[IF_NONE_MATCH],
)
def show(job_id: str, position: int) -> ResponseReturnValue:
    """Fetch a picture of a job."""
    item = job_pictures.find(container(), caller().tenant, job_id, position)
    data = job_pictures.show(container(), caller().tenant, item)
    response = Response(data, mimetype=images.media_type(data))
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Cache-Control"] = f"private, max-age={AGE}"
    response.set_etag(f"{job_id}-{position}")  # it never changes
    return response.make_conditional(request)


@bp.get("/v1/jobs/<job_id>/pictures/<int:position>/thumbnail")
@scope("infer")
@operation(
    "getJobThumbnail",
    "Jobs",
    {
        200: ("The picture, upright, in sRGB, with white where it is transparent.", Media(["image/jpeg"])),
        204: ("It is damaged, or too large to be made small here; the picture itself may be fetched.", None),
        304: ("It has not changed.", None),
    },
    query=ThumbnailQuery,
    headers=[IF_NONE_MATCH],
)
def show_small(job_id: str, position: int) -> ResponseReturnValue:
    """Fetch a picture of a job as a small JPEG.

    Whatever its format is, so that browsers without HEIC or TIFF show it too. 503 while too many wait to be made small.
    """
    side = parse(ThumbnailQuery, request.args).side
    item = job_pictures.find(container(), caller().tenant, job_id, position)
    tag = f"{job_id}-{position}-{side}"
    if request.if_none_match.contains(tag):  # before the picture is read and decoded
        response = Response(status=304)
    else:
        data = job_pictures.show(container(), caller().tenant, item)
        # A place of its own: decoding takes a core and memory, of which the other requests are to have some.
        with held_threads().taken_or_refused(), thumbnail_places().taken_or_refused(PATIENCE):
            try:
                response = Response(thumbnails.draw(data, side), mimetype="image/jpeg")
            except BadPicture:
                response = Response(status=204)
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Cache-Control"] = f"private, max-age={AGE}"
    response.set_etag(tag)
    return response
