"""Datasets, their labels and their examples."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, field

from shared.domain.datasets import LONGEST_NAME, REASONS, DatasetState, Source, Split
from shared.domain.near_duplicates import DISTANCE, FARTHEST
from shared.schemas.common import (
    PROBLEM_TYPES,
    Answer,
    Archive,
    Cursor,
    Limit,
    Next,
    Photo,
    Request,
    Share,
    Time,
    one_of,
)

LISTED = 100
"""Most labels of each dataset in a list: a dataset may have thousands, and a page has up to 500 datasets."""
_LAYOUT = (
    "zip, tar, tar.gz, tar.bz2 or tar.xz, with pictures as LABEL/picture.jpg, or with training, validation and test "
    "around that; or with a table `labels.csv`, `labels.json` or `metadata.jsonl` beside the pictures."
)
_ASKED = (
    "How many labels each picture has: one, or any number. By default the archive says it: multi-label if its table "
    "has a picture without exactly one label. An empty dataset is single-label by default."
)
_ProblemType = Annotated[str, one_of(PROBLEM_TYPES, _ASKED)]
_URI = {"format": "uri"}

Name = Annotated[str, Meta(extra_json_schema={"minLength": 1, "maxLength": LONGEST_NAME})]

# requests


class DatasetRequest(Request, kw_only=True):
    """A dataset to create: from the archive at a URL, or empty, with or without labels."""

    name: Annotated[Name, Meta(description="By default the name of the archive.")] = ""
    url: Annotated[str, Meta(description="A public address of an archive.", extra_json_schema=_URI)] = ""
    labels: Annotated[list[Name], Meta(description="Of a dataset that is filled picture by picture.")] = field(
        default_factory=list
    )
    problem_type: _ProblemType = ""


class DatasetForm(Request, kw_only=True):
    """A dataset to create from an uploaded archive."""

    name: Annotated[Name, Meta(description="By default the file's name without extension.")] = ""
    problem_type: _ProblemType = ""
    file: Annotated[Archive, Meta(description=_LAYOUT)]


class RawDataset(Request, kw_only=True):
    """A dataset to create from an archive that is the whole body."""

    name: Name = ""
    problem_type: _ProblemType = ""


class ArchiveRequest(Request, kw_only=True):
    """The address of an archive to add to a dataset."""

    url: Annotated[str, Meta(description="A public address of an archive.", extra_json_schema=_URI)]


class ArchiveForm(Request, kw_only=True):
    """An archive to add to a dataset."""

    file: Annotated[Archive, Meta(description=_LAYOUT)]


class LabelRequest(Request, kw_only=True):
    """A label to add."""

    name: Name


class ExampleForm(Request, kw_only=True):
    """A picture to add with its label, or its labels."""

    file: Annotated[Photo, Meta(description="One picture.")]
    label: Annotated[
        list[str],
        Meta(
            description="The name of a label that the dataset has. For a multi-label dataset the field is repeated for "
            "each label, or left out for a picture without any."
        ),
    ] = field(default_factory=list)
    split: Annotated[
        str, one_of([split for split in Split if split], "Its use; by default it is assigned when a training begins.")
    ] = ""


class DatasetQuery(Request, kw_only=True):
    """Which datasets a list holds."""

    limit: Limit = 50
    cursor: Cursor = ""


class ExampleQuery(Request, kw_only=True):
    """Which examples a list holds."""

    source: Annotated[str, one_of(Source)] = ""
    label: Annotated[str, Meta(description="The name of the label.")] = ""
    limit: Limit = 50
    cursor: Cursor = ""


class RelabelRequest(Request, kw_only=True):
    """The right label of an example."""

    label: Annotated[str, Meta(description="A label of the dataset.", examples=["teal"])] = ""
    labels: Annotated[
        list[str] | None,
        Meta(description="Instead of `label`, for a multi-label dataset: all labels that it shows; empty for none."),
    ] = None


class DuplicateQuery(Request, kw_only=True):
    """What counts as a near-duplicate."""

    distance: Annotated[
        int,
        Meta(description="The most bits, of 64, in which the fingerprints of two differ.", ge=0, le=FARTHEST),
    ] = DISTANCE
    limit: Annotated[int, Meta(description="The most groups in the answer.", ge=1, le=500)] = 50


# answers


class DatasetLabel(Answer, kw_only=True):
    """A label with its current number of examples."""

    id: Annotated[int, Meta(description="1 is the dataset's first.")]
    name: str
    examples: Annotated[int, Meta(description="How many it has now.")]


class LabelList(Answer, kw_only=True):
    """The labels in the order of their ids, which is the order of the logits of models trained on them."""

    labels: list[DatasetLabel]


class UnreadableFile(Answer, kw_only=True):
    """A file of an archive that could not be used."""

    path: str
    why: str


class Contradiction(Answer, kw_only=True):
    """One picture, byte by byte, that was sent under two labels; none of these files was added."""

    labels: Annotated[
        list[str],
        Meta(description="Of each file; in a multi-label dataset all labels of a file, with ` | ` between them."),
    ]
    paths: Annotated[
        list[str], Meta(description="Of each file in its archive; of a picture that was there before, LABEL/NAME.")
    ]
    example: Annotated[
        int | None, Meta(description="The example that was there before, and stays; null if there was none.")
    ] = None


class DatasetLinks(Answer, kw_only=True):
    """The addresses that belong to a dataset."""

    self: str
    labels: str
    examples: str
    duplicates: str = ""


class Dataset(Answer, kw_only=True):
    """Labelled pictures to train on, in their current version."""

    id: Annotated[int, Meta(description="Below 2^53; later ones are larger.")]
    name: str
    problem_type: Annotated[
        str | None,
        one_of(
            [*PROBLEM_TYPES, None],
            "How many labels each picture has, and so that of the models that are trained on it; null until the first "
            "archive says it.",
        ),
    ] = PROBLEM_TYPES[0]
    state: Annotated[str, one_of(DatasetState, "Only a `READY` dataset can be trained on and changed.")]
    message: Annotated[str, Meta(description="The progress of the loading, or why the last archive could not be read.")]
    progress: Annotated[Share, Meta(description="Of the loading.")]
    version: Annotated[
        int, Meta(description="A version that was trained on never changes: the next change opens another version.")
    ]
    examples: Annotated[int, Meta(description="How many there are now.")]
    labels: Annotated[
        list[DatasetLabel], Meta(description=f"By their ids; in a list of datasets the first {LISTED} of each.")
    ]
    label_count: Annotated[int, Meta(description="The number of all labels.")]
    splits: Annotated[
        dict[str, int],
        Meta(
            description="Pictures by the split that the archive declares, with an empty name those without one, which "
            "are assigned when a training begins. Empty in a list of datasets."
        ),
    ] = field(default_factory=dict)
    duplicates: Annotated[int, Meta(description="Pictures that were left out because they were there already.")]
    unreadable: Annotated[int, Meta(description="Files that are no usable picture, or lie outside of label folders.")]
    reasons: Annotated[list[UnreadableFile], Meta(description=f"Of the first {REASONS} unreadable files.")]
    contradicting: Annotated[int, Meta(description="Pictures that were left out because they had two labels.")] = 0
    contradictions: Annotated[list[Contradiction], Meta(description=f"The first {REASONS} of them.")] = field(
        default_factory=list
    )
    warnings: Annotated[
        list[str], Meta(description="What to know before a training, such as labels with few pictures.")
    ] = field(default_factory=list)
    created_at: Time
    updated_at: Time
    links: DatasetLinks


class DatasetPage(Answer, kw_only=True):
    """One page of datasets, newest first."""

    datasets: list[Dataset]
    next: Next


class ExampleLabel(Answer, kw_only=True):
    """The label of an example."""

    id: int
    name: str


class ExampleLinks(Answer, kw_only=True):
    """The addresses that belong to an example."""

    self: str
    picture: str


class Example(Answer, kw_only=True):
    """One labelled picture, without its bytes."""

    id: Annotated[int, Meta(description="1 is the dataset's first.")]
    name: Annotated[str, Meta(description="The name of its file.")]
    label: Annotated[ExampleLabel | None, Meta(description="Null in a multi-label dataset.")]
    labels: Annotated[list[ExampleLabel], Meta(description="All labels; in a multi-label dataset any number.")] = field(
        default_factory=list
    )
    split: Annotated[str, one_of(Split, "Its use; an empty one is assigned when a training begins.")]
    source: Annotated[str, one_of(Source, "`feedback` is the correction of a wrong prediction.")]
    size: Annotated[int, Meta(description="Bytes.")]
    sha256: Annotated[str, Meta(description="Of the bytes, hex: a dataset has a picture once.")]
    created_at: Time
    links: ExampleLinks


class ExamplePage(Answer, kw_only=True):
    """One page of examples, oldest first."""

    examples: list[Example]
    next: Next


class DuplicateGroup(Answer, kw_only=True):
    """Pictures that are copies of each other, or nearly so."""

    labels: Annotated[
        list[str],
        Meta(
            description="Two or more contradict each other. In a multi-label dataset all labels of a picture are one "
            "text, with ` | ` between them."
        ),
    ]
    splits: Annotated[
        list[str], Meta(description="As `split` of examples; those of several splits spoil the evidence.")
    ]
    examples: list[Example]


class DuplicateGroups(Answer, kw_only=True):
    """The near-duplicates of a dataset's version: those with several labels first, then the largest groups."""

    groups: list[DuplicateGroup]
    total: Annotated[int, Meta(description="The number of all groups.")]
    contradicting: Annotated[int, Meta(description="Groups with more than one label.")]
    across: Annotated[int, Meta(description="Groups whose pictures were put into more than one split.")]
    uncompared: Annotated[
        int, Meta(description="Pictures without a fingerprint: broken, or added by an older version of the service.")
    ]


class SuspectExample(Answer, kw_only=True):
    """An example whose label is probably wrong."""

    example: Example
    label: Annotated[
        str, Meta(description="The label that it has; empty if it probably lacks one in a multi-label dataset.")
    ]
    suggested: Annotated[
        str, Meta(description="The label that is more probable; empty if it probably has one too many.")
    ]
    score: Annotated[float, Meta(description="The probability that the picture is as it is marked.")]


class SuspectList(Answer, kw_only=True):
    """The suspect labels of a dataset's version, the most doubtful first."""

    training: Annotated[str | None, Meta(description="The newest training, which doubts them; null if there is none.")]
    suspects: list[SuspectExample]
    kept: Annotated[int, Meta(description="Examples that it doubts, and whose label was kept.")]
