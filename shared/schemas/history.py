"""The history: what the service has done in each minute of the last hour, and quarter of an hour of the last day."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from shared.schemas.common import Answer, Request, Time, one_of


class HistoryQuery(Request, kw_only=True):
    """Which history."""

    span: Annotated[
        str, one_of(("hour", "day"), "`hour`: 60 points of a minute. `day`: 96 points of a quarter of an hour.")
    ] = "hour"


class LatencyPercentiles(Answer, kw_only=True):
    """The seconds from the queue to the stored outcome that 50, 95 and 99 % of the pictures did not exceed.

    They are 10 % too long or too short at most.
    """

    p50: float
    p95: float
    p99: float


class HistoryPoint(Answer, kw_only=True):
    """What was done in some minutes. What was sampled is null where maintenance did not run."""

    at: Annotated[Time, Meta(description="When it begins.")]
    seconds: Annotated[int, Meta(description="How long it is; the last quarter of an hour may not be over.")]
    arrived: Annotated[int, Meta(description="Pictures that were put on the queue.")]
    answered: Annotated[int, Meta(description="Pictures that got an outcome, also an error.")]
    failed: Annotated[int, Meta(description="Those of them that got an error.")]
    waiting: Annotated[int | None, Meta(description="The most that waited at once.")]
    running: Annotated[int | None, Meta(description="The most that workers held at once.")]
    oldest_seconds: Annotated[float | None, Meta(description="The highest age of an unfinished picture.")]
    workers: Annotated[int | None, Meta(description="The most workers that ran at once, of the whole service.")]
    latency: Annotated[LatencyPercentiles | None, Meta(description="Null if no picture was answered.")]


class BatchSize(Answer, kw_only=True):
    """How many pictures ran in batches of one size."""

    size: Annotated[int, Meta(description="Pictures of the batch, of all tenants.")]
    pictures: int


class History(Answer, kw_only=True):
    """What the service has done, from what its workers have counted and maintenance has sampled."""

    tenants: Annotated[str, one_of(("own", "all"), "Whose pictures are counted: `all` for a key of the operator.")]
    recent: Annotated[HistoryPoint, Meta(description="The last five minutes that are over, as one.")]
    batches: Annotated[list[BatchSize], Meta(description="The batches of the whole span, the smallest first.")]
    points: Annotated[list[HistoryPoint], Meta(description="Oldest first, without gaps.")]
