"""Comparisons of two versions, promotions and canaries."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from shared.domain.comparisons import VERDICTS
from shared.domain.jobs import Status
from shared.schemas.common import Answer, Id, Moment, Request, Share, Terminal, Time, one_of
from shared.schemas.evidence import Interval, LabelEvidence, MeanInterval

VersionName = Annotated[str, Meta(description="A version of the model, such as `2`.")]

# requests


class ComparisonRequest(Request, kw_only=True):
    """The versions to compare, and the dataset whose test pictures both are run on."""

    version: VersionName
    baseline: Annotated[str, Meta(description="The version to compare it with; by default the default version.")] = ""
    dataset: Annotated[
        str | int, Meta(description="Id or name; by default the dataset that the version was trained on.")
    ] = ""


class PromotionRequest(Request, kw_only=True):
    """The version that becomes the default."""

    version: VersionName


class CanaryRequest(Request, kw_only=True):
    """The version that answers a share of the requests."""

    version: VersionName
    share: Annotated[float, Meta(description="Share of the requests that name no version.", gt=0, le=1)]


# answers


class ComparedVersion(Answer, kw_only=True):
    """What was measured on one of the two versions."""

    version: str
    accuracy: Share
    accuracy_interval: Interval | None = None
    mean_average_precision: Annotated[float | None, Meta(description="Of a multi-label version.")] = None
    macro_f1: Share
    per_label: list[LabelEvidence]
    milliseconds: Annotated[float, Meta(description="Per picture, one at a time.")]


class OnlyRight(Answer, kw_only=True):
    """How many pictures only one of the two versions answers rightly."""

    candidate: int
    baseline: int


class LabelCounts(Answer, kw_only=True):
    """How many labels each version has, and how many both have."""

    candidate: int
    baseline: int
    common: int


class ComparisonReport(Answer, kw_only=True, omit_defaults=True):
    """The result of a comparison."""

    pictures: Annotated[int, Meta(description="Pictures that both were run on and neither has learned from.")]
    left_out: Annotated[int, Meta(description="Test pictures that one of the two has learned from.")]
    agreement: Annotated[Share, Meta(description="Share of the pictures with the same best label.")]
    only_right: OnlyRight | None = None
    mean_average_precision_change: Annotated[
        float | None, Meta(description="From the baseline to the candidate; it decides for multi-label versions.")
    ] = None
    mean_average_precision_change_interval: MeanInterval | None = None
    verdict: Annotated[
        str, one_of(VERDICTS, "Of the candidate; `open` if chance alone may explain the difference.")
    ] = "open"
    labels: LabelCounts | None = None
    candidate: ComparedVersion
    baseline: ComparedVersion


class ComparisonDataset(Answer, kw_only=True):
    """The dataset version whose test pictures were used."""

    id: int
    version: int


class ComparisonLinks(Answer, kw_only=True):
    """The addresses that belong to a comparison."""

    self: str
    model: str


class Comparison(Answer, kw_only=True):
    """Two versions of a model, compared on the same test pictures."""

    id: Id
    status: Annotated[str, one_of(Status, "`QUEUED`, `DONE` or `FAILED`.")]
    terminal: Terminal
    name: Annotated[str, Meta(description="The name of the model.")]
    candidate: Annotated[str | None, Meta(description="The requested version; null if it was removed.")]
    baseline: Annotated[str | None, Meta(description="The version that it is compared with; null if it was removed.")]
    dataset: ComparisonDataset
    report: Annotated[ComparisonReport | None, Meta(description="Null unless the comparison is DONE.")]
    error: Annotated[str | None, Meta(description="Why it has FAILED.")]
    created_at: Time
    finished_at: Moment
    links: ComparisonLinks


class ComparisonList(Answer, kw_only=True):
    """The last fifty comparisons of a model, newest first."""

    comparisons: list[Comparison]


class Canary(Answer, kw_only=True):
    """The canary version with its share, and how often it agreed with the default version."""

    version: str
    share: Annotated[Share, Meta(description="Of the requests that name no version.")]
    compared: Annotated[int, Meta(description="Pictures of that version that the default version was run on as well.")]
    agreed: Annotated[int, Meta(description="How many of them have the same best label.")]
    agreement: Annotated[float | None, Meta(description="`agreed` over `compared`; null before there is any.")]
    since: Time
