"""`inferq models`: what can be asked, how more is added, and (in promotion.py) which version answers."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from inferq.client import Client
from inferq.commands import options, promotion, screen
from inferq.errors import InferqError

_EVERY = 0.5
"""Seconds between two looks at a version that is being checked."""


@click.group()
def models() -> None:
    """List, add, import, remove, compare and promote models."""


for command in promotion.COMMANDS:
    models.add_command(command)


@models.command("list")
@options.JSON
@options.server
def list_(client: Client, as_json: bool) -> None:
    """All models and their versions. The default model has a star."""
    found = client.models()
    if as_json:
        screen.print_json(found)
        return
    screen.print_rows(
        (_row(model, version) for model in found for version in model["versions"]),
        "model", "version", "state", "architecture", "labels",
        empty="no models",
    )  # fmt: skip
    screen.print_notes(
        (f"{model['name']} {version['version']}:", version["reason"])
        for model in found
        for version in model["versions"]
        if version.get("reason")
    )
    screen.print_notes(
        (f"{model['name']}:", "also called " + ", ".join(model["aliases"])) for model in found if model.get("aliases")
    )


@models.command()
@click.argument("name")
@click.option("--arch", default="", help="The torchvision architecture, where the name is not one.")
@options.server
def add(client: Client, name: str, arch: str) -> None:
    """Add a torchvision architecture with its published weights.

    \b
      inferq models add mobilenet_v2
      inferq models add fast --arch mobilenet_v3_small
    """
    _follow(client, name, _version(client.add_model(name, architecture=arch)))


@models.command("import")
@click.argument("name")
@click.option("--arch", required=True, help="The torchvision architecture that the weights are for.")
@click.option("--weights", required=True, type=options.FILE, help="A .safetensors file, or .pth with tensors only.")
@click.option("--labels", required=True, metavar="FILE|imagenet", help="A file, one label per line, in logit order.")
@click.option("--version", default="", help="The name of the version; the next number where none is given.")
@options.server
def import_(client: Client, name: str, arch: str, weights: Path, labels: str, version: str) -> None:
    """Import weights of your own.

    \b
      inferq models import birds --arch resnet50 --weights birds.safetensors --labels birds.txt
    """
    wanted = labels if labels == "imagenet" else Path(labels)
    if isinstance(wanted, Path) and not wanted.is_file():
        raise click.BadParameter(f"{labels} is neither `imagenet` nor a file", param_hint="--labels")
    with screen.remarks.status(f"sending {weights.name}"):
        answer = client.import_model(name, architecture=arch, weights=weights, labels=wanted, version=version)
    _follow(client, name, _version(answer))


@models.command()
@click.argument("name")
@click.option("--version", default="", help="Only this version.")
@options.server
def remove(client: Client, name: str, version: str) -> None:
    """Remove a model, or one version of it."""
    client.remove_model(name, version)
    screen.remarks.print(f"removed {name} {version}".rstrip())


@models.command()
@click.argument("alias")
@click.argument("model")
@options.server
def alias(client: Client, alias: str, model: str) -> None:
    """Let a name of your choice stand for a model, on every wire.

    \b
      inferq models alias google/vit-base-patch16-224 vit
    """
    made = client.alias(alias, model)
    screen.remarks.print(f"{alias} stands for {made['model']}", soft_wrap=True)


@models.command()
@click.argument("alias")
@options.server
def unalias(client: Client, alias: str) -> None:
    """Take an alias away; the model stays."""
    client.unalias(alias)
    screen.remarks.print(f"{alias} stands for nothing any more", soft_wrap=True)


def settle(client: Client, name: str, version: str) -> Mapping[str, Any]:
    """Show what the workers make of it until it is ready; raises InferqError with the reason when it is not taken."""
    began = time.monotonic()
    with screen.remarks.status(f"{name} {version}") as line:
        while (found := _find(client.model(name), version))["state"] not in ("ready", "refused"):
            if found["state"] == "absent" and found.get("reason"):
                break
            line.update(f"{name} {version}: {found['state']} ({time.monotonic() - began:.0f} s)")
            time.sleep(_EVERY)
    if found["state"] != "ready":
        raise InferqError(f"{name} {version} is {found['state']}: {found.get('reason') or 'no reason was given'}")
    return found


def _follow(client: Client, name: str, version: str) -> None:
    found = settle(client, name, version)
    screen.out.print(f"{name} {version} is ready: {_count(found.get('labels'))} labels", soft_wrap=True)


def _version(answer: Mapping[str, Any]) -> str:
    """Which version an answer to POST is about: it is that version, or the model that has it as its last one."""
    return str(answer["version"] if "version" in answer else answer["versions"][-1]["version"])


def _find(model: Mapping[str, Any], version: str) -> Mapping[str, Any]:
    for found in model["versions"]:
        if str(found["version"]) == version:
            return dict(found)
    raise InferqError(f"version {version} of {model['name']} was removed meanwhile")


def _row(model: Mapping[str, Any], version: Mapping[str, Any]) -> tuple[Any, ...]:
    chosen = str(version["version"]) == str(model.get("default_version"))
    star = " *" if model.get("is_default") and chosen else ""
    default = " default" if chosen and len(model["versions"]) > 1 else ""
    canary = f" canary {screen.percent(version['canary'])}" if version.get("canary") else ""
    return (
        f"{model['name']}{star}",
        Text.assemble(str(version["version"]), (default, "dim"), (canary, "yellow")),
        screen.status(version["state"]),
        version.get("architecture", ""),
        _count(version.get("labels")),
    )


def _count(labels: object) -> object:
    """The number of labels, whether the server sends the number or the list."""
    return len(labels) if isinstance(labels, list) else labels or ""
