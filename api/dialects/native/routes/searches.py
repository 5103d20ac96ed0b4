"""`/v1/images/search`: the stored images and examples of datasets that are most similar to a picture."""

from __future__ import annotations

from flask import Response, request

from api.context import caller, container, scope, wait_for
from api.dialects.native.openapi.operations import ONCE, WAIT, Body, OperationsBlueprint, operation
from api.dialects.native.requests import jobs as job_requests
from api.dialects.native.requests.common import find_dataset, preferred_wait
from api.dialects.native.routes.jobs import WAITED, respond_job
from shared.domain.jobs import AnswerOptions, Submission
from shared.domain.searches import SearchScope
from shared.schemas import jobs as job_schemas
from shared.schemas import searches as schemas
from shared.services import jobs, searches

bp = OperationsBlueprint("native-searches", __name__)

PATH = "/v1/images/search"


@bp.post(PATH)
@scope("infer")
@operation(
    "searchImages",
    "Jobs",
    WAITED,
    body=Body(
        form=schemas.SearchForm,
        json=job_schemas.SearchRequest,
        raw="One picture. Options go into the query.",
        query=schemas.RawSearch,
        example={"inputs": [{"url": "https://example.org/duck.jpg"}], "limit": 10},
    ),
    headers=[WAIT, ONCE],
)
async def search() -> Response:
    """Find similar pictures.

    Among the stored images and the examples of datasets, by the cosine similarity of a model's features. The answer is
    a job, as for `POST /v1/classify`, whose prediction has them in `similar`. `searched` and `of` in it say how many
    pictures were compared, of how many: the first search of a collection by a model finds few or none, and has a
    trainer compute the features of the others.
    """
    longest = container().settings.max_wait
    seconds = min(preferred_wait(longest), longest)
    job, new = await searches.submit(container(), caller().tenant, *_read(), patience=seconds or None)
    job = await wait_for(job, seconds)
    if seconds:
        jobs.raise_failure(container(), job)
    return respond_job(job, new=new)


def _read() -> tuple[Submission, SearchScope]:
    """Return the picture with its options, and what is searched; raises subclasses of BadRequest, NotFound."""
    options, pictures = job_requests.read_pictures(
        request, schemas.SearchForm, job_schemas.SearchRequest, schemas.SearchOptions, schemas.RawSearch
    )
    dataset = find_dataset(options.dataset)
    searched = SearchScope(
        options.limit,
        stage=caller().stage if options.images or not dataset else "",
        datasets=[dataset.id] if dataset else [] if options.images else None,
    )
    submission = Submission(
        pictures=pictures,
        model=options.model,
        version=options.version,
        options=AnswerOptions(task="features", exif=options.exif),
        idempotency_key=job_requests.idempotency_key(request),
    )
    return submission, searched
