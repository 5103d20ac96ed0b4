"""`/v1/dead-letters`: list the pictures without an answer over all ended jobs, and replay them."""

from __future__ import annotations

from flask import Response, request

from api.context import caller, container, scope
from api.dialects.native.openapi.operations import Body, OperationsBlueprint, operation
from api.dialects.native.requests.common import parse, parse_optional_json
from api.dialects.native.requests.jobs import read_time
from api.dialects.native.serializers import dead_letters as serializers
from api.dialects.native.serializers.common import cut, respond
from shared.domain.dead_letters import Wanted
from shared.schemas import dead_letters as schemas
from shared.services import dead_letters

bp = OperationsBlueprint("native-dead-letters", __name__)


@bp.get("/v1/dead-letters")
@scope("infer")
@operation("listDeadLetters", "Dead letters", {200: ("A page.", schemas.DeadLetterPage)}, query=schemas.DeadLetterQuery)
def listing() -> Response:
    """List dead letters.

    The failed pictures of ended jobs, and the pictures of jobs that expired before they ran; not those of cancelled
    jobs. Those of the newest jobs come first; `cursor` is the `next` of the page before.
    """
    query = parse(schemas.DeadLetterQuery, request.args)
    rows = dead_letters.list_page(
        container(), caller().tenant, _wanted(query), after=query.cursor, limit=query.limit + 1
    )
    page, following = cut(rows, query.limit)
    return respond(schemas.DeadLetterPage(dead_letters=[serializers.letter(row) for row in page], next=following))


@bp.post("/v1/dead-letters/replay")
@scope("infer")
@operation(
    "replayDeadLetters",
    "Dead letters",
    {200: ("What is queued again.", schemas.Replay)},
    body=Body(json=schemas.DeadLetterFilter, example={"reason": "poison"}),
)
def replay() -> Response:
    """Run dead letters again.

    Every job that has some is retried, with the pictures that the filters choose; without a filter, with all. A call
    that takes too long, or fills the queue, stops early: send it again with `next` as the `cursor`.
    """
    wanted = parse_optional_json(schemas.DeadLetterFilter)
    done = dead_letters.replay(container(), caller().tenant, _wanted(wanted), after=wanted.cursor)
    return respond(serializers.replay(done))


def _wanted(query: schemas.DeadLetterFilter) -> Wanted:
    since, until = read_time("since", query.since), read_time("until", query.until)
    return Wanted(query.reason, query.model, since, until)
