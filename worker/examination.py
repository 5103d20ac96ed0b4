"""Examination turns an imported file into everything that a model version stores, or refuses it with the reason."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import nn

from shared.domain import scores
from shared.domain.models import ImportOptions, ProblemType
from shared.domain.preprocessing import MODES, Origin, Preprocessing, PreprocessingRequest, Preset, check_values, sides
from shared.errors import BadOption, BadPicture, BadWeights
from worker import families, model_files, preprocess, weights
from worker.engine import top_k
from worker.families import Config, Family, Pretrained
from worker.model_files import onnx_graphs, tensors
from worker.model_files.model_file import ModelFile

IMAGENET = "imagenet"
"""The name that stands for the thousand labels of ImageNet."""
_USUAL_THRESHOLD = 0.5
_SHOWN = 5
"""Labels that a failed check shows."""


class Check(NamedTuple):
    """A picture that the import gave, with the label that is expected."""

    name: str
    data: bytes
    label: str


@dataclass(frozen=True)
class Examined:
    """All results of examining an import that a model version stores."""

    family: str
    architecture: str
    config: Config
    path: Path
    """The file that was written: safetensors, or ONNX for a graph."""
    checksum: str
    """Its SHA-256, hex."""
    labels: tuple[str, ...]
    problem_type: ProblemType
    thresholds: tuple[float, ...]
    preprocessing: Preprocessing
    preset: Preset | None
    """Where the preprocessing comes from; None if the caller passed it."""
    example_png: bytes
    example_logits: tuple[float, ...]
    """The first ten logits of the plain float32 network for that picture."""


@dataclass(frozen=True)
class _Identity:
    """What the network is: by the import, by the file, or by its name."""

    family: Family
    architecture: str
    config: Config = field(default_factory=dict)


@dataclass(frozen=True)
class Wanted:
    """What an import asks for; what is empty is as the file says."""

    architecture: str = ""
    labels: Sequence[str] = ()
    """In the order of the outputs; IMAGENET alone means those of ImageNet."""
    preprocessing: Preprocessing | PreprocessingRequest | None = None
    """Used as it is, or what an import asked for, see `choose_preprocessing`."""
    name: str = ""
    """The name of the model, which may be that of its architecture."""
    family: str = ""
    """The family and `config` of a network that was trained here."""
    config: Config = field(default_factory=dict)
    options: ImportOptions = field(default_factory=ImportOptions)
    checks: Sequence[Check] = ()
    published: bool = False
    """True if the weights were just downloaded from their publisher."""


def examine(path: Path, folder: Path, wanted: Wanted) -> Examined:
    """Turn a model file into everything that a version needs; raises BadOption (architecture, preset) or BadWeights.

    The weights are written into `folder`.
    """
    file = model_files.read(path, Path(tempfile.mkdtemp(prefix="unpacked-", dir=folder)))
    if wanted.family:  # written here, from a network of that family
        file = replace(file, normalised=True)
    known = _identify(file, wanted)
    recognised = known.family.identify(weights.checksum(path))
    preprocessing, preset = wanted.preprocessing, None
    if not isinstance(preprocessing, Preprocessing):
        preprocessing, preset = choose_preprocessing(known.family, known.architecture, preprocessing, recognised, file)
        if wanted.published and preset.origin is not Origin.REQUESTED and not preset.changed:
            preset = replace(preset, origin=Origin.PUBLISHED)
    _check_input(file, preprocessing)
    network = _network(file, known, preprocessing, wanted.options.state_key, path.stat().st_size)
    png = example()
    logits = plain_logits(network, preprocessing, png)
    chosen = _labels(wanted, file, recognised, known, len(logits))
    weights.check_labels(len(logits), chosen)
    problem_type, thresholds = _answers(wanted.options, file, len(logits))
    for check in wanted.checks:
        _check(network, preprocessing, chosen, problem_type, thresholds, check)
    target, written = _write(file, network, folder)
    family_name = families.name_of(known.family)
    return Examined(
        family_name, known.architecture, known.config, target, written, chosen, problem_type, thresholds,
        preprocessing, preset, png, tuple(logits[:10].tolist()),
    )  # fmt: skip


def _identify(file: ModelFile, wanted: Wanted) -> _Identity:
    """Return family and architecture; raises BadOption if neither the file nor the import tells them."""
    architecture = wanted.architecture
    if wanted.family:
        return _Identity(families.load(wanted.family), architecture, wanted.config)
    if file.family:
        bare = architecture.removeprefix("timm/").partition(".")[0]
        if architecture and bare != file.architecture.removeprefix("timm/"):
            raise BadOption(
                f"The file says that its architecture is {file.architecture}, not {architecture}; import it without "
                "naming an architecture."
            )
        return _Identity(families.load(file.family), file.architecture, file.config)
    if architecture:
        return _Identity(families.find(architecture), architecture)
    try:
        return _Identity(families.find(wanted.name), wanted.name)
    except BadOption:
        raise BadOption(
            "The file holds tensors alone, which do not tell their architecture: name it in `architecture`, "
            "as in torchvision or timm, or import a folder that has a config.json."
        ) from None


def choose_preprocessing(
    family: Family,
    architecture: str,
    request: PreprocessingRequest | None,
    recognised: Pretrained | None,
    file: ModelFile | None = None,
) -> tuple[Preprocessing, Preset]:
    """Return the preprocessing for imported weights, and where it comes from; raises BadOption for an unknown preset.

    It is the preset that the import requested; else the one that lies beside the weights; else what the import gave, if
    it suffices; else that of the published file with the same checksum; else that of the architecture's default
    weights, which is reported to the importer as assumed. Values that the import gave replace single ones of it.
    """
    request = _with_input(request or PreprocessingRequest(), file)
    presets = family.presets(architecture)
    if request.preset:
        base, name, origin = _find_preset(presets, request.preset, architecture), request.preset, Origin.REQUESTED
    elif file and file.preprocessing:  # also of a complete request, which seldom says interpolation and crop_mode
        base, name, origin = file.preprocessing, file.origin, Origin.INCLUDED
    elif request.complete:
        base, name, origin = None, "", Origin.REQUESTED
    elif recognised:
        base, name, origin = recognised.preprocessing, recognised.weights_name, Origin.RECOGNISED
    else:
        default = family.pretrained(architecture)
        base, name = family.preprocessing(architecture), default.weights_name if default else ""
        # Only timm's names have a dot, before a tag that names the weights and thereby their preprocessing.
        origin = Origin.REQUESTED if "." in architecture else Origin.ASSUMED
    chosen = request.apply(base)
    check_values(chosen)
    return chosen, Preset(name, origin, tuple(presets), tuple(request.values) if base else ())


def _with_input(request: PreprocessingRequest, file: ModelFile | None) -> PreprocessingRequest:
    """Return the request with the crop and the mode of a graph's input, where nothing else says them."""
    if file is None or request.preset or file.preprocessing:
        return request
    known = {"crop": file.input_size, "mode": file.mode}
    return replace(request, values={name: value for name, value in known.items() if value} | dict(request.values))


def _check_input(file: ModelFile, preprocessing: Preprocessing) -> None:
    """Raise BadOption if pictures would be prepared otherwise than a graph takes them."""
    if file.input_size and sides(file.input_size) != sides(preprocessing.crop):
        taken, given = (" x ".join(map(str, sides(size))) for size in (file.input_size, preprocessing.crop))
        raise BadOption(
            f"The graph takes pictures of {taken} pixels only, but the preprocessing crops them to {given}. Give "
            f"`crop` {taken.replace(' ', '')}, or export the graph with a dynamic height and width."
        )
    if file.mode and MODES[file.mode] != preprocessing.channels:
        raise BadOption(
            f"The graph takes pictures with {MODES[file.mode]} channel(s), but the preprocessing makes them in mode "
            f"{preprocessing.mode}. Give `mode` {file.mode}."
        )


def _find_preset(presets: Mapping[str, Preprocessing], name: str, architecture: str) -> Preprocessing:
    """Return a preset of the architecture by name, or that of any of torchvision's weights by its full name."""
    preset = presets.get(name) or families.torchvision_preset(name)
    if preset is None:
        own = f"{architecture} has {', '.join(presets)}" if presets else f"{architecture} has none"
        raise BadOption(
            f"There is no preset {name!r}: {own}; those of other architectures have names such as "
            "ResNet50_Weights.IMAGENET1K_V1, and timm's tags belong to timm's architectures (timm/resnet50). Without a "
            "preset, give `resize`, `crop`, `mean` and `std`."
        )
    return preset


def _network(file: ModelFile, known: _Identity, preprocessing: Preprocessing, key: str, size: int) -> nn.Module:
    """Return the plain network on the CPU; raises BadWeights if the weights do not fit."""
    if file.graph:
        return weights.restore(known.family, known.architecture, preprocessing, file.graph.read_bytes(), known.config)
    state = tensors.choose(file, key)
    tensors.check(state, _UNPACKED * size)
    if not file.normalised:
        state = tensors.without_prefix(state)

    def build() -> nn.Module:
        return known.family.build(known.architecture, 1000, preprocessing.crop, known.config)

    families.check_depth(known.config, len(state))
    families.check_size(build, sum(tensor.numel() for tensor in state.values()))
    if not file.normalised:
        with families.hollow(known.family):
            names = list(build().state_dict())
        state = tensors.fitting(state, names, lambda found: known.family.adapt(known.architecture, found))
    return weights.assemble(known.family, known.architecture, preprocessing, state, known.config)


_UNPACKED = 20
"""Bytes of a tensor per byte of the file, which may be packed."""


def _labels(
    wanted: Wanted, file: ModelFile, recognised: Pretrained | None, known: _Identity, count: int
) -> tuple[str, ...]:
    """Return the labels of the import, else those beside the weights, else those of published weights.

    The number of outputs alone does not make labels those of the architecture's published weights: a network of a
    thousand classes of its own would answer with ImageNet's.
    """
    named = tuple(wanted.labels) == (IMAGENET,)
    own = () if named else tuple(wanted.labels) or file.labels
    if own:
        return own
    published = recognised
    if published is None and (wanted.published or named):
        published = known.family.pretrained(known.architecture)
    if published and len(published.labels) == count:
        return published.labels
    if named and count == _IMAGENET_LABELS:
        return tuple(families.imagenet_labels())
    reason = f"ImageNet has {_IMAGENET_LABELS} labels" if named else "no labels lie beside them"
    advice = "or `labels` imagenet" if count == _IMAGENET_LABELS else "in the order of the outputs"
    raise BadWeights(
        f"The weights have {count} outputs, and {reason}. Give a labels file with {count} lines, {advice}."
    )


_IMAGENET_LABELS = 1000


def _answers(options: ImportOptions, file: ModelFile, count: int) -> tuple[ProblemType, tuple[float, ...]]:
    """Return problem type and thresholds: as the import says, as the file says, or by the number of outputs.

    The score of a single output is the answer itself, so no threshold hides it unless one is given.
    """
    named = options.problem_type or file.problem_type
    if named and named not in list(ProblemType):
        raise BadWeights(f"The problem_type must be {' or '.join(ProblemType)}, not {named!r}.")
    kind = ProblemType(named) if named else ProblemType.MULTI_LABEL if count == 1 else ProblemType.SINGLE_LABEL
    if kind is ProblemType.SINGLE_LABEL and count == 1:
        if options.problem_type:
            raise BadOption(
                "A model with one output cannot be single_label_classification: its score would always be 1."
            )
        kind = ProblemType.MULTI_LABEL
    thresholds = options.thresholds or file.thresholds
    if kind is ProblemType.SINGLE_LABEL:
        if options.thresholds:
            raise BadOption("A threshold is for multi_label_classification; give problem_type as well.")
        return kind, ()
    if len(thresholds) not in (0, 1, count):
        raise BadOption(f"Give one threshold, or one for each of the {count} labels, not {len(thresholds)}.")
    return kind, thresholds or ((_USUAL_THRESHOLD,) if count > 1 else ())


def _check(
    network: nn.Module,
    preprocessing: Preprocessing,
    labels: Sequence[str],
    problem_type: ProblemType,
    thresholds: Sequence[float],
    check: Check,
) -> None:
    """Raise BadWeights unless the network gives the picture the expected label."""
    if check.label not in labels:
        raise BadOption(
            f"The check of {check.name} expects {check.label!r}, which is none of the {len(labels)} labels."
        )
    try:
        picture = preprocess.decode(check.data, preprocessing)
    except BadPicture as error:
        raise BadOption(f"The picture {check.name} of a check cannot be used. {error.message}") from None
    logits = _run(network, picture, preprocessing)[None]
    multi = problem_type is ProblemType.MULTI_LABEL
    function = "sigmoid" if multi else "softmax"
    # As a worker answers, by logits: a score that is rounded to its threshold would be decided otherwise here.
    lowest = scores.logits_of(thresholds, len(labels)) if multi else ()
    (answer,) = top_k(logits, labels, len(labels) if multi else 1, function, lowest)
    if check.label not in [label for label, _ in answer]:
        (ranked,) = top_k(logits, labels, _SHOWN, function)
        best = ", ".join(f"{label} {score:.3f}" for label, score in ranked)
        raise BadWeights(
            f"The check failed: {check.name} should be {check.label!r}, but the answer is {best}. If the labels are in "
            "the right order, the preprocessing is not the one of the training, or the weights are other ones."
        )


def _write(file: ModelFile, network: nn.Module, folder: Path) -> tuple[Path, str]:
    if file.graph:
        target = folder / "checked.onnx"
        onnx_graphs.write(file.graph, target)
        return target, weights.checksum(target)
    target = folder / "checked.safetensors"
    return target, weights.write(network.state_dict(), target)


def example() -> bytes:
    """Return a PNG picture for comparing answers: waves of colour and a little noise, always the same bytes."""
    y, x = np.mgrid[0:240, 0:320]
    waves = [np.sin(x / a + y / b) for a, b in ((23.0, 41.0), (67.0, -19.0), (-31.0, 29.0))]
    noise = np.random.default_rng(0).normal(0, 12, (240, 320, 3))
    pixels = (127.5 + 100 * np.stack(waves, axis=2) + noise).clip(0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def plain_logits(network: nn.Module, preprocessing: Preprocessing, png: bytes) -> torch.Tensor:
    """Return the logits (classes,) of the unoptimised float32 network.

    Raises BadWeights if they are not finite, or the network does not accept a picture prepared in this way.
    """
    height, width = sides(preprocessing.crop)
    picture = Image.open(io.BytesIO(png)).convert(preprocessing.mode)
    try:
        logits = _run(network, picture, preprocessing)
    except (RuntimeError, ValueError, AssertionError) as error:
        raise BadWeights(
            f"The network cannot take pictures of {height} x {width} pixels in mode {preprocessing.mode}: "
            f"{next(iter(str(error).splitlines()), type(error).__name__)}"
        ) from error
    if logits.ndim != 1:
        raise BadWeights(f"The network answers with the shape {tuple(logits.shape)} for a picture, not with logits.")
    if not torch.isfinite(logits).all():
        raise BadWeights("With these weights the network answers a test picture with NaN or infinite numbers.")
    return logits


def _run(network: nn.Module, picture: Image.Image, preprocessing: Preprocessing) -> torch.Tensor:
    batch = preprocess.normalise(preprocess.stack([preprocess.crop(picture, preprocessing)]), preprocessing)
    with torch.inference_mode():
        logits: torch.Tensor = network(batch.contiguous())[0]
    return logits
