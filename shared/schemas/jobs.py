"""Jobs: what a submission may carry, and what a job answers."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, field

from shared.domain.explanations import METHOD, MOST_PICTURES
from shared.domain.jobs import CLOSED, FUNCTIONS, PRIORITIES, TASKS, Status
from shared.domain.rejection import Doubt as Reason
from shared.schemas.common import (
    Answer,
    Cursor,
    Id,
    Limit,
    LinkedRequest,
    Metadata,
    Moment,
    Next,
    Photo,
    Request,
    Terminal,
    Time,
    one_of,
)
from shared.schemas.searches import SearchOptions, Similar

_FORMATS = (
    "One picture, several, or one archive (zip, tar, tar.gz, tar.bz2, tar.xz) of pictures, which lie at its top or all "
    "in one folder. Bytes decide what a file is."
)

RESULTS = ("ndjson", "csv")
"""The formats of streamed results."""
INCOMPLETE = "incomplete"
"""The code of streamed results that end before the last picture."""

# requests


class Webhook(Request, kw_only=True):
    """A URL that is called when the job or training has ended."""

    url: Annotated[str, Meta(extra_json_schema={"format": "uri"})]
    secret: Annotated[
        str,
        Meta(
            description="Signs the call (Standard Webhooks). It is given with a job or training and does not rotate: "
            "for a new one, send another with the next; that of a tenant rotates."
        ),
    ] = ""


class JobOptions(Request, kw_only=True):
    """The options of a job, in form fields, in the query or in JSON."""

    model: Annotated[str, Meta(description="The model; by default the default model.", examples=["resnet50"])] = ""
    version: Annotated[str, Meta(description="Its version; by default the model's default version.")] = ""
    task: Annotated[
        str, one_of(TASKS, "`classify` gives labels with scores, `features` the input of the model's last layer.")
    ] = "classify"
    top_k: Annotated[int, Meta(description="Labels per picture.", ge=1)] = 5
    function_to_apply: Annotated[
        str,
        one_of(
            FUNCTIONS,
            "How logits become scores; `none` leaves them as they are. By default the function of the version's "
            "`problem_type`: softmax, or for multi-label sigmoid, and the answer then has only the labels whose score "
            "is at least their threshold. A function that is asked for is applied without thresholds.",
        ),
    ] = ""
    exif: Annotated[bool, Meta(description="Rotate the picture according to its EXIF orientation.")] = True
    explain: Annotated[
        bool,
        Meta(
            description="Show in a heat map of each picture where the evidence for its best label lies (Grad-CAM). For "
            f"`classify`, and up to {MOST_PICTURES} pictures."
        ),
    ] = False
    explain_label: Annotated[str, Meta(description="Explain this label instead of the best one.")] = ""
    priority: Annotated[str, one_of(PRIORITIES, "Which pictures go first.")] = "normal"
    deadline: Annotated[
        str | float,
        Meta(description="Seconds from now, or a time in RFC 3339, when the job expires."),
    ] = ""
    webhook: Annotated[
        str | Webhook, Meta(description="A URL that is called when the job has ended, or an object with its secret.")
    ] = ""
    metadata: Metadata = field(default_factory=dict)


class JobForm(JobOptions, kw_only=True):
    """A job as a form."""

    files: Annotated[list[Photo], Meta(description=_FORMATS)]


class Input(Request, kw_only=True):
    """One picture of a job in JSON: exactly one of `url`, `base64` and `image_id`."""

    url: Annotated[str, Meta(description="A public address of the picture.", extra_json_schema={"format": "uri"})] = ""
    base64: Annotated[str, Meta(description="The picture itself, with or without a data-URI prefix and padding.")] = ""
    image_id: Annotated[
        str, Meta(description="A picture that was stored with `POST /v1/images/upload` or `POST /v1/images`.")
    ] = ""
    name: Annotated[str, Meta(description="Its name in the answer.")] = ""


class JobRequest(JobOptions, kw_only=True):
    """A job as JSON."""

    inputs: Annotated[
        list[Input | str] | Input | str, Meta(description="The pictures; a text is a URL, or the picture in base64.")
    ]


class SearchRequest(SearchOptions, kw_only=True):
    """A search as JSON."""

    inputs: Annotated[
        list[Input | str] | Input | str, Meta(description="One picture; a text is a URL, or the picture in base64.")
    ]


class RawJob(JobOptions, kw_only=True):
    """The options of a job whose body is a single file."""

    name: Annotated[str, Meta(description="The name of the file in the answer.")] = "file"


class JobQuery(Request, kw_only=True):
    """Which jobs a list holds."""

    status: Annotated[str, one_of(Status)] = ""
    model: str = ""
    since: Annotated[str, Meta(description="RFC 3339, or Unix seconds: jobs created then or later.")] = ""
    until: Annotated[str, Meta(description="RFC 3339, or Unix seconds: jobs created before.")] = ""
    wire: Annotated[str, Meta(description="The wire that they came by.", examples=["native"])] = ""
    text: Annotated[
        str,
        Meta(
            description="Part of the name of their first picture, or of their id. With `wire` or `text` a page may "
            "have fewer jobs than `limit`, even none; while `next` is not null, there are older ones to look at."
        ),
    ] = ""
    limit: Limit = 50
    cursor: Cursor = ""


class ResultsQuery(LinkedRequest, kw_only=True):
    """The format of streamed results."""

    format: Annotated[str, one_of(RESULTS, "By default what `Accept` prefers: `text/csv`, or else NDJSON.")] = ""


class ResultsLinkRequest(Request, kw_only=True):
    """The format of the results behind a download link."""

    format: Annotated[str, one_of(RESULTS)] = RESULTS[0]


class FeedbackRequest(Request, kw_only=True):
    """The correction of one prediction."""

    label: Annotated[str, Meta(description="What the picture shows: the name of a label of the dataset.")] = ""
    labels: Annotated[
        list[str] | None,
        Meta(description="Instead of `label`, for a multi-label dataset: all labels that it shows; empty for none."),
    ] = None
    position: Annotated[int, Meta(description="Which picture of the job; 0 is the first.", ge=0)] = 0
    dataset: Annotated[
        str | int, Meta(description="Id or name of the dataset; by default the one that the model was trained on.")
    ] = ""


# answers


class Label(Answer, kw_only=True):
    """A label and its score."""

    label: str
    score: float


class PictureError(Answer, kw_only=True):
    """Why a picture has no answer."""

    code: str
    message: str


class Doubt(Answer, kw_only=True):
    """Why an answer is not believed."""

    code: Annotated[str, one_of(Reason)]
    message: str


class Explanation(Answer, kw_only=True, omit_defaults=True):
    """Where in a picture the evidence for a label lies, or the reason why that is not known."""

    label: Annotated[str, Meta(description="The label that is explained.")] = ""
    method: Annotated[str, one_of((METHOD,))] = ""
    link: Annotated[str, Meta(description="The picture under a heat map, as a PNG; kept as long as the job.")] = ""
    reason: Annotated[str, Meta(description="Why there is no heat map.")] = ""


class Prediction(Answer, kw_only=True, omit_defaults=True):
    """The answer for one picture, or its error, or its status if the job ended before the picture ran."""

    name: Annotated[str, Meta(description="The name of the file.")]
    results: Annotated[
        list[Label],
        Meta(description="Best first; for `classify`. Empty if no label reaches its threshold."),
    ] = field(default_factory=list)
    feature_vectors: Annotated[list[float], Meta(description="For `features`.")] = field(
        name="featureVectors", default_factory=list
    )
    confident: Annotated[
        bool | None,
        Meta(description="Whether the version's rejection rule believes the answer; left out if it has none."),
    ] = None
    doubt: Annotated[Doubt | None, Meta(description="Why the answer is not believed, if it is not.")] = None
    similar: Annotated[Similar | None, Meta(description="For `POST /v1/images/search`.")] = None
    explanation: Annotated[Explanation | None, Meta(description="With `explain`.")] = None
    error: Annotated[PictureError | None, Meta(description="Why this picture has no answer.")] = None
    status: Annotated[str, Meta(description="The status of the picture, if the job ended before it ran.")] = ""


class StreamedPrediction(Prediction, kw_only=True):
    """One line of the streamed results."""

    position: Annotated[int, Meta(description="Which picture of the job; 0 is the first.")]


class CutResults(Answer, kw_only=True):
    """The last line of streamed results that end before the last picture, because the others cannot be read now."""

    error: Annotated[PictureError, Meta(description=f"Its code is `{INCOMPLETE}`; ask again for the results.")]


class LabelledPrediction(Prediction, kw_only=True):
    """A prediction whose `results` are written even if they are empty; with a default they would be left out."""

    results: list[Label]


class StreamedLabelledPrediction(StreamedPrediction, kw_only=True):
    """One line of the streamed results, with the same `results`."""

    results: list[Label]


class Progress(Answer, kw_only=True):
    """How many pictures a job has, and how many of them have ended."""

    total: int
    done: int
    failed: int


class ModelReference(Answer, kw_only=True):
    """A version of a model by its names."""

    name: str
    version: str


class JobLinks(Answer, kw_only=True):
    """The addresses that belong to a job."""

    self: str
    results: str
    events: str
    # A server of an earlier version does not write it; clients must be able to read its answers.
    pictures: Annotated[
        str, Meta(description="The pictures with their outcomes; `/N` after it is picture N itself.")
    ] = ""


class BatchRun(Answer, kw_only=True, omit_defaults=True):
    """One batch in which pictures of a job ran."""

    claimed_at: Time
    stored_at: Time
    worker: str
    batch: Annotated[int, Meta(description="Pictures of the batch, of all jobs.")]
    pictures: Annotated[int, Meta(description="Pictures of this job in it.")]
    attempt: Annotated[int, Meta(description="1, or more if a worker ended while it had them.")]
    decode_ms: Annotated[float, Meta(description="From the claim until its pictures were decoded.")]
    forward_ms: Annotated[float, Meta(description="In the network.")]
    closed: Annotated[
        str,
        one_of(
            CLOSED,
            "Why it took no more pictures: `none_left`, no other picture waited; `full`, it had reached its limit; "
            "`alone`, the picture was claimed before. Absent if it is unknown.",
        ),
    ] = ""


class JobSummary(Answer, kw_only=True, omit_defaults=True):
    """A job without its request and predictions."""

    id: Id = field(name="_id")
    status: Annotated[str, one_of(Status)]
    terminal: Terminal
    tenant_name: str = field(name="tenantName")
    wire: Annotated[str, Meta(description="The wire that it came by.", examples=["native"])]
    model: ModelReference
    priority: Annotated[str, one_of(PRIORITIES)]
    created_at: Time
    started_at: Moment
    finished_at: Moment
    processed_time: Annotated[str | None, Meta(description="`finished_at` in the format of HTTP dates.")]
    deadline: Moment
    metadata: Metadata
    progress: Progress
    links: JobLinks
    position: Annotated[
        int | None,
        Meta(
            description="While it is QUEUED: the number of its first picture among those that wait for the model. "
            "Absent in the answer that accepts the job."
        ),
    ] = None
    eta: Annotated[
        str | None,
        Meta(
            description="When it should have ended, by the rate that the workers measure; absent if it is unknown.",
            extra_json_schema={"format": "date-time"},
        ),
    ] = None
    error: Annotated[str, Meta(description="A code for programs, if the job has FAILED or EXPIRED.")] = ""
    error_description: Annotated[str, Meta(description="The reason for people.")] = ""
    retries: Annotated[
        int, Meta(description="How often its pictures without an answer were queued again; left out if never.")
    ] = 0


class JobInput(Answer, kw_only=True):
    """What was requested."""

    files: list[str]
    options: dict[str, Any]
    texts: list[str]
    tenant_name: str = field(name="tenantName")


class Job(JobSummary, kw_only=True):
    """A job with its first 1,000 predictions; all of them are at `links.results`."""

    request: JobInput
    timeline: Annotated[
        list[BatchRun],
        Meta(
            description="The first nine batches in which its pictures ran, and the last; absent where they are unknown."
        ),
    ] = field(default_factory=list)
    predictions: Annotated[
        list[Prediction],
        Meta(description="The first 1,000, once the job has ended; all are at `links.results`."),
    ]


class FirstPicture(Answer, kw_only=True, omit_defaults=True):
    """The first picture of a job, by which people know it again."""

    name: Annotated[str, Meta(description="The name of the file.")]
    label: Annotated[str, Meta(description="Its best label.")] = ""
    score: float | None = None
    doubt: Annotated[str, one_of(Reason, "Why the answer is not believed, if it is not.")] = ""
    error: Annotated[str, Meta(description="Why it has no answer.")] = ""


class ListedJob(JobSummary, kw_only=True):
    """A job in a list."""

    first: Annotated[FirstPicture | None, Meta(description="For `classify`.")] = None


class JobPage(Answer, kw_only=True):
    """One page of jobs, newest first."""

    jobs: list[ListedJob]
    next: Next
