"""Suggestions: which pictures that a model has seen are worth labelling, and the choice to keep them."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from shared.domain.seen_pictures import LARGEST_LIMIT, LARGEST_MOST, LONGEST_DAYS, USUAL_DAYS, USUAL_MOST, Why
from shared.schemas.common import Answer, Id, Moment, Request, Time, one_of

# requests


class SeenPicturesRequest(Request, kw_only=True):
    """How many pictures that the model sees are kept, and how long."""

    most: Annotated[
        int,
        Meta(
            description=f"Pictures that are kept at most, 1 to {LARGEST_MOST}; of more, the least worth labelling go.",
            ge=1,
            le=LARGEST_MOST,
        ),
    ] = USUAL_MOST
    days: Annotated[
        int,
        Meta(
            description=f"Days for which a picture is kept after it was last seen, 1 to {LONGEST_DAYS}.",
            ge=1,
            le=LONGEST_DAYS,
        ),
    ] = USUAL_DAYS


class SuggestionsRequest(Request, kw_only=True):
    """Which pictures are to be suggested."""

    limit: Annotated[
        int, Meta(description=f"Most pictures that are suggested, 1 to {LARGEST_LIMIT}.", ge=1, le=LARGEST_LIMIT)
    ] = 20
    version: Annotated[
        str, Meta(description="The version that has seen the pictures; by default the default version.")
    ] = ""


class SuggestionLabel(Request, kw_only=True):
    """The right label of a suggested picture."""

    label: Annotated[str, Meta(description="A label of the dataset.", examples=["duck"])] = ""
    labels: Annotated[
        list[str] | None,
        Meta(description="Instead of `label`, for a multi-label dataset: all labels that it shows; empty for none."),
    ] = None
    dataset: Annotated[
        str | int,
        Meta(description="Id or name of the dataset that it is for; by default the one that the model was trained on."),
    ] = ""


# answers


class SeenPictures(Answer, kw_only=True):
    """What is kept of the pictures that a model has seen."""

    model: Annotated[str, Meta(description="The name of the model.")]
    keeping: Annotated[bool, Meta(description="True if the tenant has chosen to keep them; by default none are.")]
    most: Annotated[int | None, Meta(description="Pictures that are kept at most; null if none are kept.")]
    days: Annotated[int | None, Meta(description="Days for which they are kept; null if none are kept.")]
    since: Moment
    pictures: Annotated[int, Meta(description="Pictures that are kept now: those that seem worth labelling.")]
    bytes: Annotated[int, Meta(description="Bytes that they take, of those that the tenant may keep.")]


class SuggestionLinks(Answer, kw_only=True):
    """The addresses that belong to a suggestion."""

    self: Annotated[str, Meta(description="`POST` with a label adds the picture to a dataset, `DELETE` dismisses it.")]
    picture: Annotated[str, Meta(description="The bytes as they were sent.")]


class Suggestion(Answer, kw_only=True):
    """A picture that is worth labelling."""

    id: Id
    name: Annotated[str, Meta(description="The name of its file.")]
    label: Annotated[str, Meta(description="The best label of the present answer.")]
    score: Annotated[float, Meta(description="Its score.")]
    uncertainty: Annotated[
        float,
        Meta(
            description="How little the scores decide, 0 to 1: 1 minus the difference of the two best; of multi-label "
            "models, how near a score is to its threshold."
        ),
    ]
    why: Annotated[
        list[Annotated[str, one_of(Why)]],
        Meta(
            description="`uncertain`: the scores do not decide. `unlike_training`: the rejection rule of the version "
            "finds it unlike all pictures that the version has learnt from."
        ),
    ]
    job: Annotated[str, Meta(description="The last job that has sent it, which may be deleted by now.")]
    seen_at: Time
    links: SuggestionLinks


class SeenVersion(Answer, kw_only=True):
    """A version, and how many kept pictures it was the last to see."""

    version: str
    pictures: int


class LabelledDataset(Answer, kw_only=True):
    """The dataset that labels are for if none is named."""

    id: int
    name: str


class SuggestionList(Answer, kw_only=True):
    """The pictures that are most worth labelling: the first the most, and each different from those before it."""

    model: str
    version: Annotated[str, Meta(description="The version that has seen them.")]
    suggestions: list[Suggestion]
    candidates: Annotated[
        int,
        Meta(
            description="Pictures among which they were chosen: those that this version has seen, without copies and "
            "without pictures that have a label or were dismissed."
        ),
    ]
    seen: Annotated[list[SeenVersion], Meta(description="The versions that have seen kept pictures.")]
    dataset: Annotated[
        LabelledDataset | None,
        Meta(description="The dataset that the version was trained on; null if a label must name its dataset."),
    ]
