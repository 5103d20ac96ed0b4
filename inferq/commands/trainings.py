"""`inferq trainings` shows trainings, their progress and their evidence."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from inferq.client import Client
from inferq.commands import console, evidence, model_import, options, progress_view
from inferq.errors import InferqError, InferqHTTPError
from shared.schemas.trainings import Training, TrainingState

PLOTS = tuple(f"{plot}.{kind}" for plot in ("confusion", "curve", "reliability") for kind in ("svg", "png"))
TRAINING = click.argument("training_id", metavar="ID")


@click.group()
def trainings() -> None:
    """List, show, wait for and cancel trainings; save their evidence."""


@trainings.command("list")
@click.option("--status", default="", help="Only trainings with this status: QUEUED, RUNNING, DONE, ...")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(min=1), help="At most this many.")
@options.JSON
@options.server
def list_(client: Client, status: str, limit: int, as_json: bool) -> None:
    """List the newest trainings."""
    newest = client.trainings.list(status=status.upper(), limit=limit)
    if as_json:
        console.print_json(newest)
        return
    console.print_rows(
        (
            (
                training.id,
                console.status(training.status).append(
                    f" {training.progress:.0%}" if training.status == "RUNNING" else "", "default"
                ),
                console.short_time(training.created_at),
                f"{training.name} {made_version(training)}".rstrip(),
            )
            for training in newest
        ),
        "training", "status", "created", "model",
        empty="no trainings",
    )  # fmt: skip


@trainings.command()
@TRAINING
@click.option("--save", metavar="FOLDER", type=click.Path(file_okay=False, path_type=Path),
              help="Also write evidence.json and the plots, as SVG and PNG, into this folder.")  # fmt: skip
@options.JSON
@options.server
def show(client: Client, training_id: str, save: Path | None, as_json: bool) -> None:
    """Show one training in its current state. If it is DONE, all its evidence is shown."""
    training = client.trainings.get(training_id)
    if save is not None:
        _save(client, training, save)
    print_training(client, training, as_json=as_json, everything=True)


@trainings.command()
@TRAINING
@options.JSON
@options.server
def wait(client: Client, training_id: str, as_json: bool) -> None:
    """Follow a training to its end and show the result. Exits with 1 unless it is DONE."""
    follow_to_end(client, training_id, as_json)


@trainings.command()
@TRAINING
@options.server
def cancel(client: Client, training_id: str) -> None:
    """Cancel a training. The dataset and the model's other versions stay as they are."""
    training = client.trainings.cancel(training_id)
    console.remarks.print(f"{training_id} is {training.status}")


def follow_to_end(client: Client, training_id: str, as_json: bool) -> None:
    """Follow a training to its end and print it; exits with 1 unless it is DONE.

    Ctrl-C leaves it running, and prints how to follow it again.
    """
    try:
        training = progress_view.follow(
            client.trainings.stream(training_id), progress_view.training, progress_view.training_line
        )
        if training.status == "DONE":
            model_import.wait_until_ready(client, training.name, made_version(training))
    except KeyboardInterrupt:
        hint = f"training {training_id} continues; follow it with: inferq trainings wait {training_id}"
        console.remarks.print(f"{hint}\ncancel it with: inferq trainings cancel {training_id}", soft_wrap=True)
        raise
    print_training(client, training, as_json=as_json)
    if training.status != "DONE":
        raise SystemExit(1)


def print_training(client: Client, training: Training, *, as_json: bool, everything: bool = False) -> None:
    """Print a training as text or JSON; `everything` adds the confusion matrix and the mistakes."""
    if as_json:
        console.print_json(training)
        return
    version = made_version(training)
    model = f"  {training.name} {version}".rstrip()
    head = Text.assemble(("training ", "dim"), training.id, "  ", console.status(training.status), (model, "bold"))
    default = _default(client, training)
    if default == version != "":
        head.append(", the default version", "dim")
    console.out.print(head, soft_wrap=True)
    if training.status == "DONE":
        console.out.print("", evidence.summary(training), sep="\n")
        if everything:
            console.out.print(evidence.details(training, console.out.width))
        if default:
            _next(training.name, version, default, comparable=_shares_split(client, training, default))
    elif training.error:
        console.out.print(Text(training.error, style="red"), soft_wrap=True)
    elif not training.terminal:
        console.out.print("", progress_view.meter(training), progress_view.training(training), sep="\n")


def made_version(training: TrainingState) -> str:
    """The version that a training has made; empty until it is DONE."""
    return training.model.version if training.model else ""


def _default(client: Client, training: Training) -> str:
    """Return the model's default version; empty if the model has no version, or was removed."""
    try:
        return client.models.get(training.name).default_version if training.model else ""
    except InferqHTTPError as error:
        if error.status != 404:
            raise
        return ""


def _shares_split(client: Client, training: Training, default: str) -> bool:
    """Return False if the default version was made from another split of the pictures, by another seed or share.

    The two then have few test pictures in common, or none, so that they cannot be compared.
    """
    try:
        made_by = client.models.get_version(training.name, default).training
        other = client.trainings.get(made_by) if made_by else None
    except InferqHTTPError:  # it was removed meanwhile
        return True
    if other is None or other.dataset.id != training.dataset.id:
        return True
    ours, theirs = training.parameters, other.parameters
    return (ours.seed, ours.train_split_ratio) == (theirs.seed, theirs.train_split_ratio)


def _next(name: str, version: str, default: str, *, comparable: bool) -> None:
    """Print the next commands, ready to be copied."""
    called, arguments = shlex.quote(name), shlex.join((name, version))
    if version == default:
        lines = [f"inferq classify --model {called} PICTURE"]
    else:
        lines = [f"inferq classify --model {called} --version {shlex.quote(version)} PICTURE"]
        if comparable:
            lines += [
                f"inferq models compare {arguments}    side by side with {default}, the default version",
                f"inferq models promote {arguments}    make it the default version",
            ]
    console.remarks.print()
    if not comparable:
        console.remarks.print(
            f"It cannot be compared with {default}, the default version, whose test pictures are others: for that, "
            "train with the same --seed and --split.\n", style="yellow", soft_wrap=True,
        )  # fmt: skip
    for number, line in enumerate(lines):
        console.remarks.print(Text.assemble(("     " if number else "next ", "dim"), line), soft_wrap=True)


def _save(client: Client, training: Training, folder: Path) -> None:
    if training.evidence is None:
        raise InferqError(f"training {training.id} is {training.status}: only a training that is DONE has evidence")
    plots: dict[str, Any] = {name: client.trainings.plot(training.id, name) for name in PLOTS}
    text = json.dumps(training.evidence.to_json(), indent=2, ensure_ascii=False).encode()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in {"evidence.json": text, **plots}.items():
            (folder / name).write_bytes(data)
    except OSError as error:
        raise InferqError(f"cannot write {error.filename or folder}: {error.strerror}") from error
    console.remarks.print(f"wrote evidence.json, {', '.join(PLOTS)} to {folder}", soft_wrap=True)
