"""`/v1/diagnosis`: the running service, examined part by part."""

from __future__ import annotations

from flask import Response

from api.context import caller, container, waited
from api.dialects.native.openapi.operations import WAIT, OperationsBlueprint, operation
from api.dialects.native.requests.common import preferred_wait
from api.dialects.native.serializers.common import respond
from shared.schemas import diagnosis as schemas
from shared.schemas.common import moment_at
from shared.services import diagnosis

bp = OperationsBlueprint("native-diagnosis", __name__)


@bp.get("/v1/diagnosis")
@operation("diagnose", "Fleet", {200: ("The checks.", schemas.Diagnosis)}, headers=[WAIT])
async def diagnose() -> Response:
    """Find what is wrong now.

    Queue, workers, maintenance, storage, keys that expire within 7 days, receivers of webhooks that do not answer,
    callbacks that were given up, and dead letters, each with a cure if something is wrong; for a key of the operator,
    of the tenant `default` with the scope `keys`, also Redis, database, clocks and disk, and queue and webhooks of all
    tenants. `/readyz` says whether the service answers at all. With `Prefer: wait=N` the answer comes after N seconds,
    as that of a job that is waited for may: a caller sees whether a proxy cuts it before.
    """
    made, who = container(), caller()
    own_key = None if "keys" in who.scopes else who.key_id
    checks = diagnosis.examine(made, who.tenant, of_all=who.is_operator, own_key=own_key)
    await waited(None, preferred_wait(), lambda most: made.waiters.until("", lambda: None, lambda _: False, most))
    return respond(
        schemas.Diagnosis(
            tenants="all" if who.is_operator else "own",
            checks=[
                schemas.PartCheck(part=found.part, verdict=found.verdict, found=found.found, cure=found.cure)
                for found in checks
            ],
            time=moment_at(made.now()),
            max_wait=made.settings.max_wait,
        )
    )
