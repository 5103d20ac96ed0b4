"""Webhooks: what a receiver gets when a job or training has ended or a model has drifted, deliveries, secrets and
pings."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, field

from shared.domain.drift import Kind
from shared.domain.jobs import Status
from shared.domain.webhooks import KINDS, DeliveryStatus
from shared.schemas.common import Answer, Cursor, Id, Limit, Moment, Next, Request, Terminal, Time, one_of
from shared.schemas.jobs import ModelReference, Progress

# callbacks


class EndedJob(Answer, kw_only=True):
    """A job that has ended, without its results: the receiver fetches them by the id."""

    id: Id = field(name="_id")
    terminal: Terminal = True
    status: Annotated[str, one_of(Status)]
    progress: Progress
    metadata: dict[str, Any]


class EndedTraining(Answer, kw_only=True):
    """A training that has ended, without its evidence: the receiver fetches it by the id."""

    id: Id
    terminal: Terminal = True
    status: Annotated[str, one_of(Status)]
    model: Annotated[ModelReference | None, Meta(description="The version that it has made.")]
    error: Annotated[str, Meta(description="Why it has FAILED; empty otherwise.")]
    metadata: dict[str, Any]


class JobEvent(Answer, kw_only=True):
    """The body of a job's webhook."""

    type: Annotated[str, Meta(examples=["job.done"])]
    timestamp: Time
    data: EndedJob


class TrainingEvent(Answer, kw_only=True):
    """The body of a training's webhook."""

    type: Annotated[str, Meta(examples=["training.done"])]
    timestamp: Time
    data: EndedTraining


class DriftedDay(Answer, kw_only=True):
    """A day (UTC) on which the answers of a version have drifted in one kind."""

    id: Id
    model: ModelReference
    day: Annotated[str, Meta(examples=["2026-11-26"])]
    kind: Annotated[str, one_of(Kind)]
    effect: Annotated[float, Meta(description="The distance from the reference, 0 to 1.")]
    p_value: Annotated[float, Meta(description="The probability that chance alone makes it as large.")]
    pictures: Annotated[int, Meta(description="Pictures of that day.")]
    reference_pictures: Annotated[int, Meta(description="Pictures of the reference.")]
    message: Annotated[str, Meta(description="What that means and what to do, for people.")]


class DriftEvent(Answer, kw_only=True):
    """The body of the webhook of a model that has drifted."""

    type: Annotated[str, Meta(examples=["model.drifted"])] = "model.drifted"
    timestamp: Time
    data: DriftedDay


class Ping(Answer, kw_only=True):
    """What a ping is about: nothing but the tenant that has asked for it."""

    tenant: str


class PingEvent(Answer, kw_only=True):
    """The body of a ping."""

    type: Annotated[str, Meta(examples=["webhook.ping"])] = "webhook.ping"
    timestamp: Time
    data: Ping


# requests


class DeliveryQuery(Request, kw_only=True):
    """Which deliveries a list holds."""

    status: Annotated[str, one_of(DeliveryStatus)] = ""
    kind: Annotated[str, one_of(KINDS, "Only those of jobs, of trainings, or of drift.")] = ""
    job_id: Annotated[str, Meta(description="Only that of this job.")] = ""
    training_id: Annotated[str, Meta(description="Only that of this training.")] = ""
    limit: Limit = 50
    cursor: Cursor = ""


class ResendRequest(Request, kw_only=True):
    """Which failed deliveries are resent; by default all."""

    kind: Annotated[str, one_of(KINDS, "Only those of jobs, of trainings, or of drift.")] = ""
    cursor: Cursor = ""


class PingRequest(Request, kw_only=True):
    """A URL to call."""

    url: Annotated[str, Meta(extra_json_schema={"format": "uri"})]
    secret: Annotated[str, Meta(description="Signs the ping; by default the tenant's secret, or the service's.")] = ""


class RotationRequest(Request, kw_only=True):
    """How the secret before the new one ends."""

    overlap: Annotated[
        float,
        Meta(description="Seconds for which the secret before it signs as well; 0 ends it now.", ge=0, le=30 * 86_400),
    ] = 86_400.0


# answers


class Delivery(Answer, kw_only=True):
    """The webhook of one job or training, or of a day that has drifted, with the end of its last attempt."""

    id: Annotated[
        str, Meta(description="The id of its job, training or drifted day, and the `webhook-id` of the callback.")
    ]
    kind: Annotated[str, one_of(KINDS)]
    status: Annotated[
        str, one_of(DeliveryStatus, "`WAITING` for its first attempt or the next; `FAILED` when there is no other.")
    ]
    url: str
    attempts: Annotated[int, Meta(description="Since it was last resent.")]
    last_attempt_at: Moment
    next_attempt_at: Annotated[
        str | None,
        Meta(description="RFC 3339, in UTC; null if there is no other.", extra_json_schema={"format": "date-time"}),
    ]
    delivered_at: Moment
    response_status: Annotated[int | None, Meta(description="The status that answered last; null if none did.")]
    error: Annotated[str, Meta(description="Why the last attempt failed; empty otherwise.")]
    body_sha256: Annotated[str, Meta(description="Of the body that was sent, in hex; empty before the first attempt.")]


class DeliveryPage(Answer, kw_only=True):
    """One page of deliveries, those of the newest jobs and trainings first."""

    deliveries: list[Delivery]
    next: Next


class Resent(Answer, kw_only=True):
    """What one call has made due again."""

    deliveries: Annotated[int, Meta(description="Those that were resent.")]
    next: Annotated[
        str | None, Meta(description="The cursor of a call that continues, if this one took too long; null at the end.")
    ]


class PingResult(Answer, kw_only=True):
    """What came back from a ping."""

    received: Annotated[bool, Meta(description="True if a status 2xx answered.")]
    response_status: Annotated[int | None, Meta(description="The status that answered; null if none did.")]
    milliseconds: Annotated[int, Meta(description="The duration, with looking up the host and connecting to it.")]
    error: Annotated[str, Meta(description="What was wrong; empty otherwise.")]
    signatures: Annotated[int, Meta(description="Signatures that it carried: 2 while a secret rotates, 0 without one.")]


class NewWebhookSecret(Answer, kw_only=True):
    """A secret that was just made."""

    secret: Annotated[str, Meta(description="Signs the webhooks of the tenant from now on; shown only here.")]
    created_at: Time
    previous_until: Annotated[
        str | None,
        Meta(
            description="RFC 3339, in UTC: until then the secret before it signs as well; null if none does.",
            extra_json_schema={"format": "date-time"},
        ),
    ]
