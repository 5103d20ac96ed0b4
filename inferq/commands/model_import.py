"""`inferq models import` brings in a model: a file or a folder, with what lies beside its weights."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from inferq.client import Client
from inferq.client.imports import ImportOptions
from inferq.commands import console, model_show, options
from inferq.errors import InferqError
from shared.schemas.models import Version

_POLL_SECONDS = 0.5
"""Seconds between two polls of a version that is being checked."""
_MODEL = click.Path(exists=True, path_type=Path)


@click.command("import")
@click.argument("name")
@click.option(
    "--weights", required=True, type=_MODEL,
    help="A file (.safetensors, .pth, .ckpt, .onnx, .mar), or a folder or zip of timm, transformers or an export.",
)  # fmt: skip
@click.option("--arch", default="", help="The architecture, in torchvision or timm, if the file does not say it.")
@click.option(
    "--labels", default="", metavar="FILE|imagenet",
    help="Labels in the order of the outputs: one per line, JSON or CSV; by default those beside the weights.",
)  # fmt: skip
@click.option("--version", default="", help="The name of the version; by default the next number.")
@click.option(
    "--check", "checks", multiple=True, metavar="PICTURE=LABEL",
    help="Refuse the model unless it gives this picture this label; repeatable.",
)  # fmt: skip
@click.option(
    "--reject-below-precision", default="", metavar="SHARE",
    help="Have the model say which answers it does not believe, so that this share of the others is right: 0.95.",
)  # fmt: skip
@click.option("--on", "reject_on", default="", metavar="DATASET", help="The dataset on which that rule is fitted.")
@click.option("--unknown-label", default="", help="The label of such answers on wires that have no word for doubt.")
@click.option("--state-key", default="", help="The set of weights to take from a file that holds several.")
@click.option(
    "--problem-type", default="", metavar="NAME",
    help="single_label_classification, or multi_label_classification (any number of labels is true).",
)  # fmt: skip
@click.option("--threshold", default="", metavar="SCORE[,…]", help="Of multi-label models: from where a label counts.")
@click.option(
    "--preprocessing", default="", metavar="PRESET|FILE",
    help="The preprocessing that the weights were trained with: a published preset, or a JSON file.",
)  # fmt: skip
@click.option("--resize", metavar="PIXELS", help="Shorter side, or HEIGHTxWIDTH; overrides the preset, as all below.")
@click.option("--crop", metavar="PIXELS", help="The central square that is kept, or HEIGHTxWIDTH.")
@click.option("--mean", metavar="R,G,B", help="Mean per channel (0 to 1), or one for all.")
@click.option("--std", metavar="R,G,B", help="Standard deviation per channel.")
@click.option("--interpolation", metavar="NAME", help="nearest, bilinear, bicubic, lanczos, box or hamming.")
@click.option("--crop-mode", metavar="NAME", help="centre cuts the sides off, squash distorts, border pads.")
@click.option("--channel-order", metavar="RGB|BGR", help="BGR for networks trained with OpenCV.")
@click.option("--scale", metavar="FACTOR", help="Of pixels 0 to 255, before the mean: 1/255, or 1.")
@click.option("--mode", metavar="RGB|L", help="Colour, or grey.")
@click.option("--crop-offset", metavar="round|floor", help="The half pixel of odd margins.")
@click.option("--background", metavar="COLOUR", help="What transparent pictures lie on: white, black, #rrggbb.")
@click.option("--color-profile", metavar="apply|ignore", help="Whether embedded ICC profiles count.")
@options.server
def import_(
    client: Client, name: str, weights: Path, arch: str, labels: str, preprocessing: str, checks: tuple[str, ...],
    **values: Any,
) -> None:  # fmt: skip
    """Import a model of your own.

    \b
      inferq models import birds --weights birds/                       # a folder of timm or transformers
      inferq models import birds --weights birds.onnx --labels birds.txt --resize 256 --crop 224 \\
        --mean 0.5 --std 0.5
      inferq models import birds --weights birds.pth --arch resnet50 --labels birds.txt \\
        --preprocessing IMAGENET1K_V1 --check robin.jpg=robin
    """
    label_source = labels if labels in ("", "imagenet") else Path(labels)
    if isinstance(label_source, Path) and not label_source.is_file():
        raise click.BadParameter(f"{labels} is neither `imagenet` nor a file", param_hint="--labels")
    wanted: ImportOptions = {
        "architecture": arch,
        "labels": label_source,
        "version": values.pop("version"),
        "state_key": values.pop("state_key"),
        "problem_type": values.pop("problem_type"),
        "threshold": values.pop("threshold"),
        "reject_below_precision": values.pop("reject_below_precision"),
        "reject_on": values.pop("reject_on"),
        "unknown_label": values.pop("unknown_label"),
        "checks": [_check(text) for text in checks],
        "preprocessing": _preprocessing(preprocessing, values),
    }
    with console.remarks.status(f"sending {weights.name}"):
        answer = client.models.upload(name, weights, **wanted)
    model_show.warn_if_assumed(report_ready(client, name, answer.version))


def _check(text: str) -> tuple[Path, str]:
    """Return picture and label of `photo.jpg=cat`; a name of a file may hold an equals sign, a label may not."""
    picture, _, label = text.rpartition("=")
    if not picture or not label:
        raise click.BadParameter(f"{text!r} is not PICTURE=LABEL", param_hint="--check")
    if not Path(picture).is_file():
        raise click.BadParameter(f"there is no file {picture}", param_hint="--check")
    return Path(picture), label


def until_ready(client: Client, name: str, version: str) -> Iterator[Version]:
    """Yield a version again and again until it is ready; raises InferqError with the reason if it will not be."""
    while True:
        checked = model_show.get_version(client.models.get(name), version)
        yield checked
        if checked.state == "ready":
            return
        if checked.state == "refused" or (checked.state == "absent" and checked.reason):
            raise InferqError(f"{name} {version} is {checked.state}: {checked.reason or 'no reason was given'}")
        time.sleep(_POLL_SECONDS)


def wait_until_ready(client: Client, name: str, version: str) -> Version:
    """Show the progress of a version until it is ready, and return it; raises InferqError with the reason if not."""
    began = time.monotonic()
    with console.remarks.status(f"{name} {version}") as line:
        for checked in until_ready(client, name, version):
            progress = checked.reason or checked.state
            line.update(f"{name} {version}: {progress} ({time.monotonic() - began:.0f} s)")
    return checked


def report_ready(client: Client, name: str, version: str) -> Version:
    """Show the progress of a version until it is ready, print that it is, and return it; raises InferqError if not."""
    checked = wait_until_ready(client, name, version)
    console.out.print(f"{name} {version} is ready: {console.count(checked.labels, 'label')}", soft_wrap=True)
    return checked


def _preprocessing(preset_or_file: str, values: Mapping[str, Any]) -> str | dict[str, Any]:
    """Return the name of a preset, or an object with the values of the file; single values override both."""
    single = {name: value for name, value in values.items() if value is not None}
    path = Path(preset_or_file)
    if path.suffix == ".json" and not path.is_file():
        raise click.BadParameter(f"there is no file {preset_or_file}", param_hint="--preprocessing")
    if not preset_or_file or not path.is_file():
        return {"preset": preset_or_file, **single} if single else preset_or_file
    try:
        document = json.loads(path.read_text("utf-8-sig"))
    except ValueError as error:
        raise click.BadParameter(
            f"{preset_or_file} is not a JSON file: {error}", param_hint="--preprocessing"
        ) from None
    if not isinstance(document, dict):
        raise click.BadParameter(f"{preset_or_file} must hold a JSON object", param_hint="--preprocessing")
    return document | single
