"""The diagnosis: what was found out about each part of a running service, with what to do about it."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from shared.domain.diagnosis import Verdict
from shared.schemas.common import Answer, Time, one_of


class PartCheck(Answer, kw_only=True, omit_defaults=True):
    """What was found out about one part; a part may have several."""

    part: Annotated[str, Meta(examples=["redis"])]
    verdict: Annotated[
        str, one_of(Verdict, "`failed` keeps pictures from being answered; `warning` may do so soon, or has.")
    ]
    found: Annotated[str, Meta(description="What is the case.")]
    cure: Annotated[str, Meta(description="What to do, with commands in backticks; left out if all is well.")] = ""


class Diagnosis(Answer, kw_only=True):
    """The state of a running service."""

    tenants: Annotated[
        str,
        one_of(
            ("own", "all"),
            "Whose queue and webhooks are examined: `all` for a key of the operator, which is also told of Redis, "
            "database, clocks and disk.",
        ),
    ]
    checks: list[PartCheck]
    time: Annotated[Time, Meta(description="The time of the service.")]
    max_wait: Annotated[float, Meta(description="Seconds that a request may wait for its job.")]
