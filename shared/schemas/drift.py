"""Drift: how far the answers of a version are from its reference, and where its owner is called back about that."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from shared.domain.drift import (
    KEPT_DAYS,
    LEAST_EFFECT,
    RECENT_DAYS,
    RECENT_PICTURES,
    SIGNIFICANCE,
    Source,
    Unknown,
    Verdict,
)
from shared.schemas.common import Answer, Request, Time, one_of

# requests


class DriftQuery(Request, kw_only=True):
    """Which version and days are looked at."""

    version: Annotated[str, Meta(description="By default the default version.")] = ""
    days: Annotated[
        int, Meta(description=f"Days with today, 1 to {KEPT_DAYS}; older ones are not kept.", ge=1, le=KEPT_DAYS)
    ] = 30


class ReferenceRequest(Request, kw_only=True):
    """The pictures that a version's answers are compared with from now on."""

    dataset: Annotated[str | int, Meta(description="Id or name of the dataset; its labels do not matter.")]


class ModelWebhookRequest(Request, kw_only=True):
    """Where the owner of a model is called back when one of its days has drifted."""

    url: Annotated[str, Meta(extra_json_schema={"format": "uri"})]
    secret: Annotated[str, Meta(description="Signs the calls; by default the tenant's secret, or the service's.")] = ""


# answers


class Shift(Answer, kw_only=True):
    """How far one kind is from the reference."""

    effect: Annotated[
        float | None,
        Meta(description="The Jensen-Shannon distance, 0 for equal to 1 for nothing in common, less what chance leads "
             "to expect; null if `unknown` says why."),
    ]  # fmt: skip
    p_value: Annotated[float | None, Meta(description="The probability that chance alone makes it as large.")]
    drifted: Annotated[
        bool,
        Meta(description=f"True from an effect of {LEAST_EFFECT:g} on, with a p_value below {SIGNIFICANCE:g}."),
    ]
    unknown: Annotated[str | None, one_of([*Unknown, None], "Why nothing is said of it.")]


class DriftedPictures(Answer, kw_only=True):
    """The pictures of some time, compared with the reference in three ways."""

    pictures: int
    labels: Annotated[Shift, Meta(description="The labels of the answers; seasons and customers change them.")]
    confidence: Annotated[Shift, Meta(description="The scores of the best labels.")]
    distance: Annotated[
        Shift, Meta(description="How far the pictures are from the training; measured with a rejection rule only.")
    ]


class DriftDay(DriftedPictures, kw_only=True):
    """One day in UTC."""

    day: Annotated[str, Meta(examples=["2026-11-26"], extra_json_schema={"format": "date"})]


class RecentPictures(DriftedPictures, kw_only=True):
    """The last days together."""

    since: Annotated[str, Meta(description="The first of the days.", extra_json_schema={"format": "date"})]


class DriftReference(Answer, kw_only=True):
    """What the answers are compared with."""

    source: Annotated[
        str,
        one_of(Source, "`test`: the test pictures of the training; `unseen`: others that it has not learned from, as "
               "the test pictures are few; `dataset`: those of a dataset that was given."),
    ]  # fmt: skip
    dataset: Annotated[str | None, Meta(description="The name of that dataset; null for another source.")]
    pictures: int
    measured_at: Time


class Drift(Answer, kw_only=True):
    """How far the answers of a version are from its reference."""

    name: Annotated[str, Meta(description="The name of the model.")]
    version: str
    verdict: Annotated[str, one_of(Verdict, "Of the last days together.")]
    message: Annotated[str, Meta(description="The verdict for people.")]
    advice: Annotated[str, Meta(description="What to do; empty if nothing has to be done.")]
    recent: Annotated[
        RecentPictures | None,
        Meta(description=f"As few of the last {RECENT_DAYS} days as hold {RECENT_PICTURES} pictures; null for none."),
    ]
    days: Annotated[list[DriftDay], Meta(description="The days with pictures, oldest first; today's is not over.")]
    reference: Annotated[DriftReference | None, Meta(description="Null until there is one.")]
    measuring: Annotated[bool, Meta(description="True while a worker measures another reference.")]
    error: Annotated[str | None, Meta(description="Why the last measurement has made no reference, for people.")]
    webhook: Annotated[str | None, Meta(description="Called back when a finished day has drifted; null for none.")]
