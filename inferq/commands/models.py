"""`inferq models` lists, adds and removes models; model_import.py imports, promotion.py decides which version answers,
suggestions.py says what to label."""

from __future__ import annotations

import click
from rich.text import Text

from inferq.client import Client
from inferq.commands import (
    console,
    model_drift,
    model_export,
    model_import,
    model_reject,
    model_show,
    options,
    promotion,
    suggestions,
)
from shared.schemas.models import Model, Version

_DEFAULT_ORIGINS = {
    "tenant": "your choice; undo it with: inferq models default --reset",
    "setting": "set when the service was started",
    "service": "the service's default",
}


@click.group()
def models() -> None:
    """List, show, add, import, export, remove, compare and promote models; suggest what to label."""


for command in (
    model_show.show,
    model_import.import_,
    model_export.export,
    model_reject.reject,
    model_drift.drift,
    *promotion.COMMANDS,
    *suggestions.COMMANDS,
):
    models.add_command(command)


@models.command("list")
@click.option("--all", "with_absent", is_flag=True, help="Also those of the catalogue that can be added.")
@options.JSON
@options.server
def list_(client: Client, with_absent: bool, as_json: bool) -> None:
    """List the models and their versions. The default model has a star."""
    visible = client.models.list()
    if as_json:
        console.print_json(visible)
        return
    shown = [(model, version) for model in visible for version in model.versions if with_absent or _is_here(version)]
    listed = console.table("model", "version", "state", "labels", "architecture", numbers=["labels"])
    for column in listed.columns[:4]:
        column.no_wrap, column.overflow = True, "ellipsis"
    for model, version in shown:
        listed.add_row(*_row(model, version))
    if shown:
        console.out.print(listed)
    else:
        console.remarks.print("no models")
    if absent := [model.name for model in visible if not any(map(_is_here, model.versions)) and not with_absent]:
        hint = f"not here yet: {', '.join(absent)}; add one with: inferq models add {absent[0]}"
        console.remarks.print(hint, style="dim", soft_wrap=True)
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
    model_import.report_ready(client, name, client.models.add(name, architecture=arch).version)


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


def _is_here(version: Version) -> bool:
    """Return False for a version of the catalogue for which nobody has asked so far."""
    return version.state != "absent" or bool(version.reason)


def _row(model: Model, version: Version) -> tuple[str | Text, ...]:
    chosen = version.version == model.default_version
    star = " *" if model.is_default and chosen else ""
    default = " default" if chosen and len(model.versions) > 1 else ""
    canary = f" canary {console.percent(version.canary)}" if version.canary else ""
    return (
        f"{model.name}{star}",
        Text.assemble(version.version, (default, "dim"), (canary, "yellow")),
        console.status(version.state),
        f"{version.labels:,}" if version.labels else "",
        Text("as its name", "dim") if version.architecture == model.name else version.architecture,
    )
