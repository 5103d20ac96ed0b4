"""Models, their versions, aliases and the default model."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, field

from shared.domain.model_exports import ExportFormat
from shared.domain.models import ModelState, ProblemType
from shared.domain.preprocessing import (
    CHANNEL_ORDERS,
    COLOR_PROFILES,
    CROP_MODES,
    CROP_OFFSETS,
    INTERPOLATIONS,
    MAX_SIDE,
    MODES,
    Origin,
)
from shared.domain.rejection import HIGHEST_PRECISION, LOWEST_PRECISION
from shared.schemas.common import PROBLEM_TYPES, Answer, File, LinkedRequest, Photo, Request, Time, one_of
from shared.schemas.evidence import METHODS, Evidence, Plots

DEFAULT_ORIGINS = ("tenant", "setting", "service")
Side = int | list[int]
"""Pixels of both sides, or [height, width]."""

_INSTEAD = "instead of the preset's."
_ExportFormat = Annotated[
    str, one_of(ExportFormat, "`safetensors` for the tensors as they are stored, `onnx` for the whole network.")
]

# requests


class ModelRequest(Request, kw_only=True):
    """A model to add: weights of the caller, or the published weights of an architecture."""

    name: Annotated[str, Meta(description="The name of the model.", examples=["mobilenet_v2"])]
    architecture: Annotated[
        str,
        Meta(
            description="Of torchvision or timm (`timm/NAME` if both have it); by default what the file says, or the "
            "name of the model."
        ),
    ] = ""
    version: Annotated[str, Meta(description="By default the next number.")] = ""
    labels: Annotated[
        str,
        Meta(
            description="In the order of the outputs: one per line, JSON (a list, `id2label`), or CSV of index and "
            "label; `imagenet` for ImageNet's; nothing for those beside the weights, or the published ones."
        ),
    ] = ""
    preprocessing: Annotated[
        str | dict[str, Any],
        Meta(
            description="A preset (`IMAGENET1K_V1`, or another architecture's `ResNet18_Weights.IMAGENET1K_V1`), or an "
            "object of values as JSON. By default it is the one beside the weights, or the file is recognised by its "
            "checksum, or else the architecture's newest preset is assumed, which the answer says."
        ),
    ] = ""
    resize: Annotated[
        str | int | list[int],
        Meta(description=f"Pixels of the shorter side, 1 to {MAX_SIDE}, or height and width (`288x384`), {_INSTEAD}"),
    ] = ""
    crop: Annotated[
        str | int | list[int],
        Meta(description=f"Pixels of the sides of the input, 1 to {MAX_SIDE}, or height and width, {_INSTEAD}"),
    ] = ""
    mean: Annotated[
        str | float | list[float],
        Meta(description=f"One number, or three separated by commas, {_INSTEAD}", examples=["0.5,0.5,0.5"]),
    ] = ""
    std: Annotated[
        str | float | list[float],
        Meta(description=f"One number, or three separated by commas, {_INSTEAD}"),
    ] = ""
    interpolation: Annotated[str, one_of(INTERPOLATIONS, _INSTEAD.capitalize())] = ""
    mode: Annotated[str, one_of(MODES, "Colour or grey.")] = ""
    crop_mode: Annotated[
        str, Meta(description=f"`center`, `squash` (both sides are resized) or `border`, {_INSTEAD}")
    ] = ""
    channel_order: Annotated[str, one_of(CHANNEL_ORDERS, "`BGR` for networks trained with OpenCV.")] = ""
    scale: Annotated[str | float, Meta(description="Factor for pixels 0 to 255, before the mean: `1/255`, or `1`.")] = (
        ""
    )
    crop_offset: Annotated[
        str, one_of(CROP_OFFSETS, "How half a pixel of the margin is rounded: as torchvision, or as transformers.")
    ] = ""
    background: Annotated[
        str, Meta(description="What transparent pictures lie on: `white`, `black`, `#rrggbb`; by default nothing.")
    ] = ""
    color_profile: Annotated[str, one_of(COLOR_PROFILES, "`apply` converts by an embedded ICC profile to sRGB.")] = ""
    problem_type: Annotated[
        str,
        one_of(
            PROBLEM_TYPES,
            "Whether one label is true of a picture (softmax) or any number (sigmoid). By default as the file says, or "
            "a single label, except for networks with one output.",
        ),
    ] = ""
    threshold: Annotated[
        str | float | list[float],
        Meta(description="Of multi-label models: the score from which a label is an answer; one number, or one per "
             "label, separated by commas. By default 0.5, and none for a single output."),
    ] = ""  # fmt: skip
    reject_below_precision: Annotated[
        str | float,
        Meta(description="Have a rejection rule fitted, so that this share of the answers that are believed is right: "
             "0.95. Needs `reject_on`."),
    ] = ""  # fmt: skip
    reject_on: Annotated[
        str | int, Meta(description="Id or name of the dataset on which that rule is fitted; with the model's labels.")
    ] = ""
    unknown_label: Annotated[
        str, Meta(description="The label of answers that are not believed, on wires that have no word for doubt.")
    ] = ""
    state_key: Annotated[
        str, Meta(description="Which set of weights to take from a file that holds several: `model_ema`.")
    ] = ""


class ModelForm(ModelRequest, kw_only=True):
    """A model to add, as a form."""

    weights: Annotated[
        File,
        Meta(
            description="`.safetensors`, `.pth` or `.ckpt` (the tensors only), `.onnx`, `.mar`, or a zip of a folder "
            "of timm, transformers or an export.",
            examples=["weights.safetensors"],
        ),
    ] = ""
    check: Annotated[
        list[Photo], Meta(description="Pictures that the model must label as `check_label` says; else it is refused.")
    ] = field(default_factory=list)
    check_label: Annotated[str, Meta(description="The label of each `check`, repeated in the same order.")] = ""


class ExportLinkRequest(Request, kw_only=True):
    """The format of the export behind a download link."""

    format: _ExportFormat = ExportFormat.SAFETENSORS.value


class ExportQuery(LinkedRequest, kw_only=True):
    """How a version is exported."""

    format: _ExportFormat = ExportFormat.SAFETENSORS.value


class RejectionRequest(Request, kw_only=True):
    """A rejection rule to fit, or another label for the present one."""

    precision: Annotated[
        Annotated[float, Meta(ge=LOWEST_PRECISION, le=HIGHEST_PRECISION)] | None,
        Meta(description="The wanted share of right answers among those that are believed; with `dataset`."),
    ] = None
    dataset: Annotated[str | int, Meta(description="Id or name of the dataset that the rule is fitted on.")] = ""
    unknown_label: Annotated[
        str, Meta(description="The label of answers that are not believed, on wires that have no word for doubt.")
    ] = ""


class ModelChoice(Request, kw_only=True):
    """The model that a default or an alias stands for."""

    model: Annotated[str, Meta(description="The name of the model.")]


# answers


class Preprocessing(Answer, kw_only=True):
    """How pictures are prepared for the network."""

    resize: Annotated[
        Side, Meta(description="Pixels of the shorter side after resizing; height and width where they differ.")
    ]
    crop: Annotated[Side, Meta(description="Pixels of the sides of the central part that is kept.")]
    mean: Annotated[list[float], Meta(description="One per channel, of scaled values.")]
    std: Annotated[list[float], Meta(description="One per channel, of scaled values.")]
    interpolation: Annotated[str, one_of(INTERPOLATIONS)]
    mode: Annotated[str, one_of(MODES)]
    crop_mode: Annotated[str, one_of(CROP_MODES, "`squash` resizes both sides, `border` the longer one.")]
    channel_order: Annotated[str, one_of(CHANNEL_ORDERS)] = "RGB"
    scale: Annotated[float, Meta(description="Factor for pixels 0 to 255, before mean and deviation.")] = 1 / 255
    crop_offset: Annotated[
        str, one_of(CROP_OFFSETS, "How half a pixel of the margin is rounded: as torchvision, or as transformers.")
    ] = "round"
    background: Annotated[
        str, Meta(description="The colour `#rrggbb` below transparent pictures; empty: transparency is dropped.")
    ] = ""
    color_profile: Annotated[str, one_of(COLOR_PROFILES, "Whether an embedded ICC profile is applied.")] = "ignore"


class Preset(Answer, kw_only=True):
    """The published preprocessing that a version has, or that its values are based on."""

    name: Annotated[str, Meta(description="Empty if all values were given.", examples=["IMAGENET1K_V1"])]
    origin: Annotated[
        str, one_of(Origin, "`assumed`: the import named none. `recognised`: by the checksum of the file.")
    ]
    available: Annotated[list[str], Meta(description="The presets of the architecture.")]
    changed: Annotated[list[str], Meta(description="The values that the import gave instead of the preset's.")]


class Rejection(Answer, kw_only=True):
    """The rule by which a version does not believe an answer."""

    precision: Annotated[float, Meta(description="The wanted share of right answers among those that are believed.")]
    min_score: Annotated[float, Meta(description="The lowest score of the best label that is believed.")]
    max_distance: Annotated[
        float | None,
        Meta(description="The largest distance from the features of known pictures that is believed, 0 to 2; null if "
             "distances are not looked at."),
    ]  # fmt: skip
    unknown_label: Annotated[
        str, Meta(description="The answer on wires that have no word for doubt; empty leaves theirs as it is.")
    ]


class RejectionFit(Answer, kw_only=True):
    """Where the rejection rule of a version stands."""

    rejection: Annotated[Rejection | None, Meta(description="The present rule; null without one.")]
    fitting: Annotated[bool, Meta(description="True while a worker fits another rule.")]
    error: Annotated[str | None, Meta(description="Why the last fit has made no rule, for people.")]


class Version(Answer, kw_only=True):
    """A version of a model, without the names of its labels and without its full evidence."""

    name: Annotated[str, Meta(description="The name of the model.")]
    version: str
    state: Annotated[str, one_of(ModelState, "Only `ready` answers.")]
    reason: Annotated[str, Meta(description="Why it is not ready, or the progress of the check.")]
    family: Annotated[str, Meta(description="The library of the architecture; empty until a worker has checked it.")]
    architecture: str
    labels: Annotated[int, Meta(description="The number of labels.")]
    problem_type: Annotated[
        str, one_of(ProblemType, "Single-label: softmax over all labels. Multi-label: a sigmoid for each label.")
    ] = ProblemType.SINGLE_LABEL
    thresholds: Annotated[
        list[float],
        Meta(description="For multi-label: the score from which a label is part of the answer, one for all or one "
             "per label; without any, all labels are."),
    ] = field(default_factory=list)  # fmt: skip
    rejection: Annotated[
        Rejection | None, Meta(description="By which it does not believe an answer; null if it believes all.")
    ] = None
    checksum: Annotated[str, Meta(description="SHA-256 of the weights, hex.")]
    bytes: Annotated[
        int, Meta(description="Of its weights; until a worker has checked it, of the uploaded files. 0 if unknown.")
    ] = 0
    preprocessing: Annotated[Preprocessing | None, Meta(description="Null until it is known.")]
    preset: Annotated[Preset | None, Meta(description="The origin of the preprocessing; null if it was trained here.")]
    created_at: Time
    metrics: dict[str, Any]
    training: Annotated[str | None, Meta(description="The training that made it; null for an import.")]
    accuracy: Annotated[float | None, Meta(description="On the test pictures of that training.")]
    method: Annotated[str | None, one_of((*METHODS, None), "How it was trained.")]
    requires_deployment: Annotated[
        bool, Meta(description="True if the wire that it was trained by answers with it only once it is deployed.")
    ]
    canary: Annotated[
        float, Meta(description="Share of the requests without a version that it answers without being the default.")
    ]


class VersionLinks(Answer, kw_only=True, omit_defaults=True):
    """The addresses that belong to a version."""

    self: str
    training: str = ""
    plots: Plots | None = None


Engine = Annotated[str | None, Meta(description="What the running workers run it with; null without workers.")]
LabelNames = Annotated[list[str], Meta(description="In the order of the logits.")]


class EngineErrors(Answer, kw_only=True):
    """What a candidate changes, compared with the plain network in float32 on the version's example set."""

    difference: Annotated[float, Meta(description="Of a logit or feature at most, as a fraction of the largest one.")]
    score_difference: Annotated[float, Meta(description="Of any score at most.")]
    agreement: Annotated[float, Meta(description="The share of the pictures that keep their best label.")]


class EngineReport(Answer, kw_only=True):
    """What a worker measured when it chose the runtime of a version."""

    runtime: Annotated[str, Meta(description="The library that runs it.", examples=["openvino"])]
    chosen: Annotated[
        str,
        Meta(description="The candidate that serves: a runtime, its type of numbers if that is not float32, and "
             "whether JPEGs are decoded to a smaller size.", examples=["openvino bfloat16, scaled decoding"]),
    ] = ""  # fmt: skip
    precision: Annotated[str, Meta(description="The setting: `exact` or `fast`.")] = "exact"
    pictures_per_second: Annotated[
        dict[str, float], Meta(description="The rate of the network alone, by candidate, measured in turn.")
    ]
    errors: Annotated[dict[str, EngineErrors], Meta(description="By candidate.")] = field(default_factory=dict)
    pictures: Annotated[int, Meta(description="The number of pictures in the example set.")] = 0
    difference: Annotated[
        float,
        Meta(description="Largest difference from the plain network in float32, as a fraction of the largest value."),
    ]
    processor: str
    threads: int
    library: Annotated[str, Meta(description="The other runtime with its version.")]
    measured_at: Time
    refused: Annotated[dict[str, str], Meta(description="What was tried and does not answer, with the reason.")] = (
        field(default_factory=dict)
    )


class VersionDetails(Version, kw_only=True):
    """A version with its labels and its evidence."""

    label_names: LabelNames
    engine: Engine
    engine_report: Annotated[
        EngineReport | None, Meta(description="Null until a worker has tried a faster runtime; busy models are tried.")
    ] = None
    evidence: Annotated[Evidence | None, Meta(description="Null if it was not trained here.")]
    links: VersionLinks


class VersionList(Answer, kw_only=True):
    """The versions of one model, oldest first."""

    versions: list[Version]


class Model(Answer, kw_only=True):
    """A model with its versions."""

    name: str
    default_version: Annotated[str, Meta(description="Answers requests that name the model but no version.")]
    is_default: Annotated[bool, Meta(description="True if it answers requests that name no model.")]
    rollback_to: Annotated[
        str, Meta(description="The version that a rollback makes the default; empty if no promotion is left to undo.")
    ] = ""
    shared: Annotated[bool, Meta(description="True for models of the catalogue, which all tenants may use.")]
    aliases: Annotated[list[str], Meta(description="Other names for it, on every wire.")]
    versions: Annotated[list[Version], Meta(description="Oldest first.")]


class ModelDetails(Model, kw_only=True):
    """A model with its versions, and the labels of its default version."""

    label_names: LabelNames
    engine: Engine


class ModelList(Answer, kw_only=True):
    """Every model that the caller may use."""

    models: list[Model]


class Alias(Answer, kw_only=True):
    """An alias, and the model whose default version answers to it."""

    alias: Annotated[str, Meta(examples=["google/vit-base-patch16-224"])]
    model: Annotated[str, Meta(description="The model whose default version answers.")]


class AliasList(Answer, kw_only=True):
    """The aliases by name."""

    aliases: list[Alias]


class DefaultModel(Answer, kw_only=True):
    """The model that answers requests that name none."""

    model: Annotated[str, Meta(description="Answers requests that name no model.")]
    origin: Annotated[
        str, one_of(DEFAULT_ORIGINS, "Who chose it: the `tenant`, the `setting`, or the `service` by itself.")
    ]
