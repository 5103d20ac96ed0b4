"""`inferq models`: what can be asked, how more is added, and (in promotion.py) which version answers."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from inferq.client.jobs_and_models import Client
from inferq.commands import console, model_show, options, promotion
from inferq.errors import InferqError

_DEFAULT_ORIGINS = {
    "tenant": "your choice; take it back with: inferq models default --reset",
    "setting": "named when the service was started",
    "service": "the service's default",
}
_POLL_SECONDS = 0.5
"""Seconds between two looks at a version that is being checked."""


@click.group()
def models() -> None:
    """List, show, add, import, remove, compare and promote models; choose the default."""


for command in (model_show.show, *promotion.COMMANDS):
    models.add_command(command)


@models.command("list")
@options.JSON
@options.server
def list_(client: Client, as_json: bool) -> None:
    """All models and their versions. The default model has a star."""
    visible = client.models()
    if as_json:
        console.print_json(visible)
        return
    console.print_rows(
        (_row(model, version) for model in visible for version in model["versions"]),
        "model", "version", "state", "architecture", "labels",
        empty="no models",
    )  # fmt: skip
    console.print_notes(
        (f"{model['name']} {version['version']}:", version["reason"])
        for model in visible
        for version in model["versions"]
        if version.get("reason")
    )
    console.print_notes(
        (f"{model['name']}:", "also called " + ", ".join(model["aliases"])) for model in visible if model.get("aliases")
    )


@models.command()
@click.argument("name")
@click.option("--arch", default="", help="The architecture, where the name is not one.")
@options.server
def add(client: Client, name: str, arch: str) -> None:
    """Add an architecture with its published weights.

    \b
      inferq models add resnet50
      inferq models add mobilenet_v2
      inferq models add fast --arch mobilenet_v3_small
    """
    _report_ready(client, name, _version(client.add_model(name, architecture=arch)))


@models.command("import")
@click.argument("name")
@click.option("--arch", required=True, help="The architecture of the weights, as torchvision or timm calls it.")
@click.option("--weights", required=True, type=options.FILE, help="A .safetensors file, or .pth with tensors only.")
@click.option("--labels", required=True, metavar="FILE|imagenet", help="A file, one label per line, in logit order.")
@click.option("--version", default="", help="The name of the version; the next number where none is given.")
@click.option(
    "--preprocessing", default="", metavar="PRESET|FILE",
    help="How the pictures were prepared that the weights learned from: a published preset, or a JSON file.",
)  # fmt: skip
@click.option("--resize", type=int, help="Pixels of the shorter side, in place of the preset's.")
@click.option("--crop", type=int, help="Pixels of the central square, in place of the preset's.")
@click.option("--mean", metavar="R,G,B", help="Mean per channel (0 to 1), or one for all, in place of the preset's.")
@click.option("--std", metavar="R,G,B", help="Standard deviation per channel, in place of the preset's.")
@click.option(
    "--interpolation", type=click.Choice(["nearest", "bilinear", "bicubic"]), help="In place of the preset's."
)
@options.server
def import_(
    client: Client, name: str, arch: str, weights: Path, labels: str, version: str, preprocessing: str, **values: Any
) -> None:
    """Import weights of your own.

    \b
      inferq models import birds --arch resnet50 --weights birds.safetensors --labels birds.txt
      inferq models import photos --arch resnet50 --weights resnet50.pth --labels imagenet \\
        --preprocessing IMAGENET1K_V1
    """
    label_source = labels if labels == "imagenet" else Path(labels)
    if isinstance(label_source, Path) and not label_source.is_file():
        raise click.BadParameter(f"{labels} is neither `imagenet` nor a file", param_hint="--labels")
    with console.remarks.status(f"sending {weights.name}"):
        answer = client.import_model(
            name, architecture=arch, weights=weights, labels=label_source, version=version,
            preprocessing=_preprocessing(preprocessing, values),
        )  # fmt: skip
    model_show.warn_if_assumed(_report_ready(client, name, _version(answer)), arch)


@models.command()
@click.argument("name")
@click.option("--version", default="", help="Only this version.")
@options.server
def remove(client: Client, name: str, version: str) -> None:
    """Remove a model, or one version of it."""
    client.remove_model(name, version)
    console.remarks.print(f"removed {name} {version}".rstrip())


@models.command()
@click.argument("name", required=False)
@click.option("--reset", is_flag=True, help="Take your choice back.")
@options.server
def default(client: Client, name: str | None, reset: bool) -> None:
    """Choose your default model, or show it.

    It answers the requests of your key's tenant that name no model, on every wire.

    \b
      inferq models default photos
    """
    if name and reset:
        raise click.UsageError("--reset takes no name")
    if reset:
        client.reset_default_model()
    elif name:
        client.choose_default_model(name)
    choice = client.default_model()
    console.out.print(f"{choice['model']}, {_DEFAULT_ORIGINS.get(choice['origin'], choice['origin'])}", soft_wrap=True)


@models.command()
@click.argument("alias")
@click.argument("model")
@options.server
def alias(client: Client, alias: str, model: str) -> None:
    """Let a name of your choice stand for a model, on every wire.

    \b
      inferq models alias google/vit-base-patch16-224 vit
    """
    answer = client.alias(alias, model)
    console.remarks.print(f"{alias} stands for {answer['model']}", soft_wrap=True)


@models.command()
@click.argument("alias")
@options.server
def unalias(client: Client, alias: str) -> None:
    """Take an alias away; the model stays."""
    client.unalias(alias)
    console.remarks.print(f"{alias} stands for nothing any more", soft_wrap=True)


def wait_until_ready(client: Client, name: str, version: str) -> Mapping[str, Any]:
    """Show what the workers make of it until it is ready; raises InferqError with the reason when it is not taken."""
    began = time.monotonic()
    with console.remarks.status(f"{name} {version}") as line:
        while (checked := model_show.get_version(client.model(name), version))["state"] not in ("ready", "refused"):
            if checked["state"] == "absent" and checked.get("reason"):
                break
            progress = checked.get("reason") or checked["state"]
            line.update(f"{name} {version}: {progress} ({time.monotonic() - began:.0f} s)")
            time.sleep(_POLL_SECONDS)
    if checked["state"] != "ready":
        raise InferqError(f"{name} {version} is {checked['state']}: {checked.get('reason') or 'no reason was given'}")
    return checked


def _report_ready(client: Client, name: str, version: str) -> Mapping[str, Any]:
    checked = wait_until_ready(client, name, version)
    console.out.print(f"{name} {version} is ready: {_count(checked.get('labels'))} labels", soft_wrap=True)
    return checked


def _preprocessing(preset_or_file: str, values: Mapping[str, Any]) -> str | dict[str, Any]:
    """The name of a preset, or an object with the values of the file, and in their place the single ones."""
    single = {name: value for name, value in values.items() if value is not None}
    path = Path(preset_or_file)
    if path.suffix == ".json" and not path.is_file():
        raise click.BadParameter(f"there is no file {preset_or_file}", param_hint="--preprocessing")
    if not preset_or_file or not path.is_file():
        return {"preset": preset_or_file, **single} if single else preset_or_file
    try:
        document = json.loads(path.read_text("utf-8-sig"))
    except ValueError as error:
        raise click.BadParameter(f"{preset_or_file} is no JSON file: {error}", param_hint="--preprocessing") from None
    if not isinstance(document, dict):
        raise click.BadParameter(f"{preset_or_file} must hold a JSON object", param_hint="--preprocessing")
    return document | single


def _version(answer: Mapping[str, Any]) -> str:
    """Which version an answer to POST is about: it is that version, or the model that has it as its last one."""
    return str(answer["version"] if "version" in answer else answer["versions"][-1]["version"])


def _row(model: Mapping[str, Any], version: Mapping[str, Any]) -> tuple[Any, ...]:
    chosen = str(version["version"]) == str(model.get("default_version"))
    star = " *" if model.get("is_default") and chosen else ""
    default = " default" if chosen and len(model["versions"]) > 1 else ""
    canary = f" canary {console.percent(version['canary'])}" if version.get("canary") else ""
    return (
        f"{model['name']}{star}",
        Text.assemble(str(version["version"]), (default, "dim"), (canary, "yellow")),
        console.status(version["state"]),
        version.get("architecture", ""),
        _count(version.get("labels")),
    )


def _count(labels: object) -> object:
    """The number of labels, whether the server sends the number or the list."""
    return len(labels) if isinstance(labels, list) else labels or ""
