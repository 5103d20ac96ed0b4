"""The evidence of a training: everything that was measured on the version that it made."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, field

from shared.schemas.common import PROBLEM_TYPES, Answer, Share, one_of

METHODS = ("head", "fine-tuned", "scratch")
"""The training methods of a version."""


class Epoch(Answer, kw_only=True):
    """One epoch of the learning curve."""

    stage: Annotated[str, Meta(description="`head`, `fine-tuning`, `refit` or `network`.")]
    epoch: Annotated[int, Meta(description="1 is the first of its stage.")]
    train_loss: Annotated[
        float | None, Meta(description="Null if it is not finite. Of a multi-label dataset summed over the labels.")
    ]
    train_accuracy: Annotated[
        float, Meta(description="Of a multi-label dataset the share of labels on the right side of a score of 0.5.")
    ]
    validation_loss: Annotated[
        float | None, Meta(description="Null without validation pictures, or if it is not finite.")
    ]
    validation_accuracy: float | None


Interval = Annotated[
    list[float], Meta(description="Lower and upper bound; they contain the true value in 95 % of cases (Wilson).")
]


MeanInterval = Annotated[
    list[float],
    Meta(
        description="Lower and upper bound; they contain the true value in about 95 % of cases (bootstrap over the "
        "pictures, never narrower than Wilson's for as many)."
    ),
]


class LabelEvidence(Answer, kw_only=True):
    """What was measured for one label; the last fields are those of a multi-label version."""

    label: str
    precision: Share
    recall: Share
    recall_interval: Interval | None = None
    f1: Share
    support: Annotated[int, Meta(description="Test pictures that have it.")]
    average_precision: Annotated[
        float | None, Meta(description="Whatever the threshold; null if no test picture has the label.")
    ] = None
    threshold: Annotated[float | None, Meta(description="The score from which it is answered.")] = None
    true_positives: Annotated[int | None, Meta(description="Test pictures that have it and were answered with it.")] = (
        None
    )
    false_positives: Annotated[int | None, Meta(description="Those that lack it and were answered with it.")] = None
    false_negatives: Annotated[int | None, Meta(description="Those that have it and were not answered with it.")] = None
    true_negatives: Annotated[int | None, Meta(description="Those that lack it and were not answered with it.")] = None


class ReliabilityBin(Answer, kw_only=True):
    """The test pictures whose score is above `low` and not above `high`; of a multi-label version each of their labels,
    and `accuracy` is the share that the pictures have."""

    low: float
    high: float
    count: int
    confidence: Annotated[float | None, Meta(description="Their mean score.")]
    accuracy: Annotated[float | None, Meta(description="The share of right answers among them.")]


class Mistake(Answer, kw_only=True):
    """A test picture that was answered wrongly; of a multi-label version one of its labels."""

    example: Annotated[int, Meta(description="The id of the example.")]
    name: str
    expected: Annotated[str, Meta(description="The label that it has; empty for a label that it lacks.")]
    predicted: Annotated[str, Meta(description="The label of the answer; empty for a label that was missed.")]
    score: Annotated[float, Meta(description="Of the answer, or of the label that was missed.")]


class CoveragePoint(Answer, kw_only=True):
    """What would be believed with another lowest score."""

    coverage: Annotated[Share, Meta(description="Share of the test pictures that would be believed.")]
    accuracy: Annotated[Share, Meta(description="Share of right answers among them.")]
    min_score: float


class ForeignPictures(Answer, kw_only=True):
    """Pictures that show nothing that the version knows."""

    kind: Annotated[str, Meta(description="`noise`, `text`, `plain`, `gradient`, or the name of another dataset.")]
    pictures: int
    rejected: Annotated[int, Meta(description="How many of them are not believed.")]


class RejectionEvidence(Answer, kw_only=True):
    """What the rejection rule believes."""

    wanted: Annotated[Share, Meta(description="The precision that was asked for.")]
    reason: Annotated[str, Meta(description="Why there is no rule; empty if there is one.")] = ""
    min_score: Annotated[float | None, Meta(description="The lowest score that is believed.")] = None
    max_distance: Annotated[
        float | None, Meta(description="The largest distance from the training pictures that is believed.")
    ] = None
    pictures: Annotated[int, Meta(description="Test pictures.")] = 0
    believed: Annotated[int, Meta(description="Test pictures whose answer is believed.")] = 0
    precision: Annotated[float | None, Meta(description="The share of right answers among these.")] = None
    precision_interval: Interval | None = None
    curve: list[CoveragePoint] = field(default_factory=list)
    foreign: list[ForeignPictures] = field(default_factory=list)


class Suspect(Answer, kw_only=True):
    """An example whose label is probably wrong."""

    example: Annotated[int, Meta(description="The id of the example.")]
    name: str
    label: Annotated[
        str, Meta(description="The label that it has; empty if it probably lacks one in a multi-label dataset.")
    ]
    suggested: Annotated[
        str, Meta(description="The label that is more probable; empty if it probably has one too many.")
    ]
    score: Annotated[float, Meta(description="The probability that the picture is as it is marked.")]


class CrossValidation(Answer, kw_only=True):
    """What linear classifiers answered on pictures of other folds, which they had not learned from."""

    folds: int
    pictures: int
    accuracy: Annotated[float | None, Meta(description="Null for a multi-label dataset.")]
    accuracy_interval: Interval | None
    mean_average_precision: Annotated[float | None, Meta(description="Of a multi-label dataset.")] = None
    mean_average_precision_interval: MeanInterval | None = None


class NearDuplicateCounts(Answer, kw_only=True):
    """How many groups of near-duplicates there are."""

    together: Annotated[int, Meta(description="Groups in one split.")]
    across: Annotated[
        int, Meta(description="Groups in several splits, which make the evidence look better than it is.")
    ]


class ExampleCounts(Answer, kw_only=True):
    """How many examples each split has."""

    training: int
    validation: int
    test: int


class EvidenceDataset(Answer, kw_only=True):
    """The dataset version that was learned from."""

    id: int
    name: str
    version: int


class Evidence(Answer, kw_only=True):
    """All measurements of a trained version on its test pictures."""

    problem_type: Annotated[str, one_of(PROBLEM_TYPES)] = PROBLEM_TYPES[0]
    accuracy: Annotated[
        float,
        Meta(
            description="On the test pictures, as are all of the following. Of a multi-label version the share of "
            "pictures with exactly the right labels."
        ),
    ]
    accuracy_interval: Interval | None = None
    mean_average_precision: Annotated[
        float | None, Meta(description="Of a multi-label version: over the labels that test pictures have.")
    ] = None
    mean_average_precision_interval: MeanInterval | None = None
    micro_f1: Annotated[float | None, Meta(description="Of a multi-label version: of all labels together.")] = None
    cross_validation: Annotated[
        CrossValidation | None, Meta(description="Null for many pictures, and without a base.")
    ] = None
    macro_f1: Share = 0.0
    labels: Annotated[list[str], Meta(description="In the order of the rows and columns.")] = field(
        default_factory=list
    )
    per_label: list[LabelEvidence] = field(default_factory=list)
    confusion: Annotated[
        list[list[int]],
        Meta(description="Rows are the true labels, columns the answers; empty for a multi-label version."),
    ] = field(default_factory=list)
    ece_before: Annotated[float, Meta(description="Expected calibration error.")] = 0.0
    ece_after: Annotated[float, Meta(description="After the logits are divided by the temperature.")] = 0.0
    temperature: Annotated[
        float, Meta(description="Fitted on pictures that were not learned from; 1 if they do not ask for another.")
    ] = 1.0
    reliability: list[ReliabilityBin] = field(default_factory=list)
    reliability_before: Annotated[list[ReliabilityBin], Meta(description="Before that division.")] = field(
        default_factory=list
    )
    mistakes_in_all: int = 0
    mistakes: Annotated[list[Mistake], Meta(description="The most confident ones.")] = field(default_factory=list)
    rejection: Annotated[RejectionEvidence | None, Meta(description="Null unless a rule was asked for.")] = None
    suspects_in_all: int = 0
    suspects: Annotated[
        list[Suspect], Meta(description="Examples whose label is probably wrong, the most doubtful first.")
    ] = field(default_factory=list)
    tested: Annotated[
        list[list[int]],
        Meta(
            description="Id of the example, and the number of the answer's label, or of each label of a multi-label "
            "answer, of the first 5,000."
        ),
    ] = field(default_factory=list)
    curve: list[Epoch] = field(default_factory=list)
    epochs: Annotated[int, Meta(description="How many were run, of all stages.")] = 0
    best_epoch: Annotated[int | None, Meta(description="The epoch whose weights were kept.")] = None
    train_accuracy: float | None = None
    train_loss: float | None = None
    validation_accuracy: float | None = None
    method: Annotated[str, one_of(METHODS, "How it was trained.")]
    note: Annotated[str, Meta(description="How it was made, in a sentence.")] = ""
    stopped: Annotated[str, Meta(description="Why it stopped: `early`, `epochs` or `time`.")] = ""
    examples: ExampleCounts | None = None
    near_duplicates: NearDuplicateCounts | None = None
    dataset: EvidenceDataset | None = None
    base: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    seconds: Annotated[dict[str, float], Meta(description="Stage -> seconds.")] = field(default_factory=dict)
    machine: Annotated[dict[str, Any], Meta(description="The machine that it was trained on.")] = field(
        default_factory=dict
    )


class Plots(Answer, kw_only=True, omit_defaults=True):
    """The addresses of the plots of the evidence; absent before the training is DONE."""

    confusion: str = ""
    curve: str = ""
    reliability: str = ""
