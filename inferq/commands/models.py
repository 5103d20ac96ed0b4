"""`inferq models` lists, adds, imports and removes models; promotion.py decides which version answers."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from inferq.client import Client
from inferq.commands import console, model_show, options, promotion
from inferq.errors import InferqError
from shared.schemas.models import Model, Version

_DEFAULT_ORIGINS = {
    "tenant": "your choice; undo it with: inferq models default --reset",
    "setting": "set when the service was started",
    "service": "the service's default",
}
_POLL_SECONDS = 0.5
"""Seconds between two polls of a version that is being checked."""


@click.group()
def models() -> None:
    """List, show, add, import, remove, compare and promote models; choose the default."""


for command in (model_show.show, *promotion.COMMANDS):
    models.add_command(command)


@models.command("list")
@options.JSON
@options.server
def list_(client: Client, as_json: bool) -> None:
    """List all models and their versions. The default model has a star."""
    visible = client.models.list()
    if as_json:
        console.print_json(visible)
        return
    console.print_rows(
        (_row(model, version) for model in visible for version in model.versions),
        "model", "version", "state", "architecture", "labels",
        empty="no models",
    )  # fmt: skip
    console.print_notes(
        (f"{model.name} {version.version}:", version.reason)
        for model in visible
        for version in model.versions
        if version.reason
    )
    console.print_notes((f"{model.name}:", "aliases " + ", ".join(model.aliases)) for model in visible if model.aliases)


@models.command()
@click.argument("name")
@click.option("--arch", default="", help="The architecture, if NAME is not one.")
@options.server
def add(client: Client, name: str, arch: str) -> None:
    """Add an architecture with its published weights.

    \b
      inferq models add resnet50
      inferq models add mobilenet_v2
      inferq models add fast --arch mobilenet_v3_small
    """
    _report_ready(client, name, client.models.add(name, architecture=arch).version)


@models.command("import")
@click.argument("name")
@click.option("--arch", required=True, help="The architecture of the weights, by its name in torchvision or timm.")
@click.option("--weights", required=True, type=options.FILE, help="A .safetensors file, or .pth with tensors only.")
@click.option("--labels", required=True, metavar="FILE|imagenet", help="A file, one label per line, in logit order.")
@click.option("--version", default="", help="The name of the version; by default the next number.")
@click.option(
    "--preprocessing", default="", metavar="PRESET|FILE",
    help="The preprocessing that the weights were trained with: a published preset, or a JSON file.",
)  # fmt: skip
@click.option("--resize", type=int, help="Pixels of the shorter side; overrides the preset.")
@click.option("--crop", type=int, help="Pixels of the central square; overrides the preset.")
@click.option("--mean", metavar="R,G,B", help="Mean per channel (0 to 1), or one for all; overrides the preset.")
@click.option("--std", metavar="R,G,B", help="Standard deviation per channel; overrides the preset.")
@click.option("--interpolation", type=click.Choice(["nearest", "bilinear", "bicubic"]), help="Overrides the preset.")
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
        answer = client.models.upload(
            name, architecture=arch, weights=weights, labels=label_source, version=version,
            preprocessing=_preprocessing(preprocessing, values),
        )  # fmt: skip
    model_show.warn_if_assumed(_report_ready(client, name, answer.version), arch)


@models.command()
@click.argument("name")
@click.option("--version", default="", help="Only this version.")
@options.server
def remove(client: Client, name: str, version: str) -> None:
    """Remove a model, or one version of it."""
    client.models.remove(name, version)
    console.remarks.print(f"removed {name} {version}".rstrip())


@models.command()
@click.argument("name", required=False)
@click.option("--reset", is_flag=True, help="Undo your choice.")
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
        client.models.reset_default()
    elif name:
        client.models.choose_default(name)
    choice = client.models.get_default()
    console.out.print(f"{choice.model}, {_DEFAULT_ORIGINS.get(choice.origin, choice.origin)}", soft_wrap=True)


@models.command()
@click.argument("alias")
@click.argument("model")
@options.server
def alias(client: Client, alias: str, model: str) -> None:
    """Create an alias, another name for a model, on every wire.

    \b
      inferq models alias google/vit-base-patch16-224 vit
    """
    answer = client.models.set_alias(alias, model)
    console.remarks.print(f"{alias} is an alias of {answer.model}", soft_wrap=True)


@models.command()
@click.argument("alias")
@options.server
def unalias(client: Client, alias: str) -> None:
    """Remove an alias; the model stays."""
    client.models.remove_alias(alias)
    console.remarks.print(f"removed the alias {alias}", soft_wrap=True)


def wait_until_ready(client: Client, name: str, version: str) -> Version:
    """Show the progress of a version until it is ready, and return it; raises InferqError with the reason if not."""
    began = time.monotonic()
    with console.remarks.status(f"{name} {version}") as line:
        while (checked := model_show.get_version(client.models.get(name), version)).state not in ("ready", "refused"):
            if checked.state == "absent" and checked.reason:
                break
            progress = checked.reason or checked.state
            line.update(f"{name} {version}: {progress} ({time.monotonic() - began:.0f} s)")
            time.sleep(_POLL_SECONDS)
    if checked.state != "ready":
        raise InferqError(f"{name} {version} is {checked.state}: {checked.reason or 'no reason was given'}")
    return checked


def _report_ready(client: Client, name: str, version: str) -> Version:
    checked = wait_until_ready(client, name, version)
    console.out.print(f"{name} {version} is ready: {checked.labels} labels", soft_wrap=True)
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


def _row(model: Model, version: Version) -> tuple[Any, ...]:
    chosen = version.version == model.default_version
    star = " *" if model.is_default and chosen else ""
    default = " default" if chosen and len(model.versions) > 1 else ""
    canary = f" canary {console.percent(version.canary)}" if version.canary else ""
    return (
        f"{model.name}{star}",
        Text.assemble(version.version, (default, "dim"), (canary, "yellow")),
        console.status(version.state),
        version.architecture,
        version.labels or "",
    )
