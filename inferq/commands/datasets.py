"""`inferq datasets` manages labelled pictures for trainings."""

from __future__ import annotations

import shlex
from pathlib import Path

import click
from rich.text import Text

from inferq.client import Client
from inferq.client.pictures import is_url
from inferq.commands import console, evidence, options, progress_view, suspects
from shared.schemas.common import MULTI_LABEL, PROBLEM_TYPES
from shared.schemas.datasets import Contradiction, Dataset, Example

NAME = click.argument("name")
_REASONS = 10
"""Most unusable files in the output; `--json` has all that the server reports."""
_FEWEST = 2
"""Fewest labels for a training, and fewest pictures of each."""


@click.group()
def datasets() -> None:
    """Create, add to, list, show, examine, correct and delete datasets to train on."""


for command in suspects.COMMANDS:
    datasets.add_command(command)


@datasets.command()
@NAME
@click.argument("source", metavar="[PATH|URL]", required=False)
@click.option(
    "--label", "labels", multiple=True, help="A label of an empty dataset, instead of PATH; repeat it for each label."
)
@click.option("--problem-type", type=click.Choice(PROBLEM_TYPES),
              help="One label for each picture, or any number; by default the archive says it.")  # fmt: skip
@options.JSON
@options.server
def create(
    client: Client, name: str, source: str | None, *, labels: tuple[str, ...], problem_type: str | None, as_json: bool
) -> None:
    """Create a dataset from label folders, or pictures with a table.

    The command waits until it is loaded. PATH is a folder with a folder of pictures
    for each label, or an archive of that (zip or tar); URL is the address of an
    archive. Folders training, validation and test above the label folders are kept as
    the split. A table labels.csv with the columns file and labels, or labels.json, takes
    the place of label folders; its pictures may have any number of labels.

    \b
      inferq datasets create flowers flowers/      flowers/rose/1.jpg and so on
      inferq datasets create empty --label rose --label daisy
    """
    if bool(source) == bool(labels):
        raise click.UsageError(
            "name a folder, an archive or a URL, or else the labels of an empty dataset with --label"
        )
    if source is None:
        _print(client.datasets.create(name, labels=labels, problem_type=problem_type or ""), as_json)
        return
    path = _source(source)
    with console.remarks.status(f"sending {source}"):
        dataset = client.datasets.create(name, path, problem_type=problem_type or "")
    _follow_loading(client, dataset, as_json)


@datasets.command()
@NAME
@click.argument("source", metavar="PATH|URL")
@options.JSON
@options.server
def add(client: Client, name: str, source: str, as_json: bool) -> None:
    """Add pictures to a dataset.

    PATH or URL is a folder or an archive as in `create`.
    A version that was trained on never changes: the pictures go into the next version.
    """
    path = _source(source)
    with console.remarks.status(f"sending {source}"):
        dataset = client.datasets.add_archive(name, path)
    _follow_loading(client, dataset, as_json)


@datasets.command("list")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(min=1), help="At most this many.")
@options.JSON
@options.server
def list_(client: Client, limit: int, as_json: bool) -> None:
    """List the newest datasets."""
    newest = client.datasets.list(limit=limit)
    if as_json:
        console.print_json(newest)
        return
    console.print_rows(
        (
            (
                dataset.name,
                dataset.id,
                console.status(dataset.state),
                dataset.label_count or "",
                dataset.examples,
                console.short_time(dataset.created_at),
            )
            for dataset in newest
        ),
        "dataset", "id", "state", "labels", "pictures", "created",
        empty="no datasets",
    )  # fmt: skip


@datasets.command()
@NAME
@options.JSON
@options.server
def show(client: Client, name: str, as_json: bool) -> None:
    """Show one dataset, by its name or id."""
    _print(client.datasets.get(name), as_json)


@datasets.command()
@NAME
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 500), help="At most so many groups.")
@options.JSON
@options.server
def duplicates(client: Client, name: str, limit: int, as_json: bool) -> None:
    """List pictures that are nearly the same.

    They are copies that were compressed, resized or cropped a little. Groups with
    several labels come first: one of their labels is wrong.
    """
    found = client.datasets.duplicates(name, limit=limit)
    if as_json:
        console.print_json(found)
        return
    console.print_rows(
        (
            (number if first else "", _labels(example), example.split, example.name, example.id)
            for number, group in enumerate(found.groups, 1)
            for first, example in ((example is group.examples[0], example) for example in group.examples)
        ),
        "group", "label", "split", "picture", "id",
        empty="no near-duplicates",
    )  # fmt: skip
    counted = [
        ("groups", found.total),
        ("with several labels", found.contradicting),
        ("in several splits", found.across),
        ("pictures not compared", found.uncompared),
    ]
    console.out.print(evidence.key_value_table([(word, Text(str(count))) for word, count in counted if count]))


@datasets.command()
@NAME
@options.server
def delete(client: Client, name: str) -> None:
    """Delete a dataset with its pictures. Models that were trained on it stay."""
    client.datasets.remove(name)
    console.remarks.print(f"deleted {name}", soft_wrap=True)


def _labels(example: Example) -> str:
    """Return all labels of an example as one text; `labels` is empty if the server is older than multi-label
    datasets."""
    names = [label.name for label in example.labels] or ([example.label.name] if example.label else [])
    return " | ".join(names) or "no label"


def _source(source: str) -> str | Path:
    """Return a URL as it is, else a path; raises BadParameter if there is no such file."""
    if is_url(source):
        return source
    if not Path(source).exists():
        raise click.BadParameter(f"{source} is neither a file, nor a folder, nor a URL", param_hint="PATH|URL")
    return Path(source)


def _follow_loading(client: Client, created: Dataset, as_json: bool) -> None:
    """Show the progress of loading until it ends; exits with 1 if it failed, and prints the reason."""
    try:
        dataset = progress_view.follow(
            client.datasets.stream(created.id), progress_view.dataset, progress_view.dataset_line
        )
    except KeyboardInterrupt:
        hint = f"dataset {created.id} continues loading; show it with: inferq datasets show {created.id}"
        console.remarks.print(hint, soft_wrap=True)
        raise
    _print(dataset, as_json)
    if dataset.state != "READY" or dataset.message:
        raise SystemExit(1)


def _print(dataset: Dataset, as_json: bool) -> None:
    if as_json:
        console.print_json(dataset)
        return
    head = Text.assemble(("dataset ", "dim"), (dataset.name, "bold"), "  ", console.status(dataset.state))
    is_multi_label = dataset.problem_type == MULTI_LABEL
    kind = f"  {dataset.problem_type}" if is_multi_label else ""
    console.out.print(head.append(f"{kind}  version {dataset.version}  id {dataset.id}", "dim"), soft_wrap=True)
    if dataset.message:  # the reason of a failed archive, or the progress of loading
        console.out.print(Text(dataset.message, "yellow" if dataset.state == "LOADING" else "red"), soft_wrap=True)
    most = max((label.examples for label in dataset.labels), default=0) or 1
    rows = (
        (label.name, Text(str(label.examples), justify="right"), console.bar(label.examples / most))
        for label in dataset.labels
    )
    if dataset.labels or dataset.state == "READY":  # else it is not known yet
        console.print_rows(rows, "label", "pictures", "", empty="no labels")
    counted = [
        ("pictures", dataset.examples),
        *_splits(dataset),
        ("duplicates left out", dataset.duplicates),
        ("with different labels" if is_multi_label else "under two labels", dataset.contradicting),
        ("unusable", dataset.unreadable),
    ]
    console.out.print(evidence.key_value_table([(word, Text(str(count))) for word, count in counted if count]))
    if dataset.contradictions:
        console.out.print()
        console.print_notes(
            (
                f" {each.paths[0]}:",
                f"also sent as {', '.join(each.paths[1:])}; {_kept(each, 'different' if is_multi_label else 'two')}",
            )
            for each in dataset.contradictions[:_REASONS]
        )
    if dataset.reasons:
        console.out.print()
        console.print_notes((f" {file.path}:", file.why) for file in dataset.reasons[:_REASONS])
    if dataset.unreadable > _REASONS:
        console.out.print(Text(f" and {dataset.unreadable - _REASONS} more", "dim"))
    for warning in dataset.warnings if dataset.state == "READY" else ():
        console.out.print(Text(f"\n{warning}", "yellow"), soft_wrap=True)
    if dataset.state == "READY":
        _print_next(dataset)


def _splits(dataset: Dataset) -> list[tuple[str, int]]:
    """Return (words, pictures) of each split, if the archive has declared any."""
    if not any(dataset.splits):
        return []
    return [(f"  for {split}" if split else "  not assigned yet", count) for split, count in dataset.splits.items()]


def _kept(contradiction: Contradiction, labels: str) -> str:
    if contradiction.example is None:
        return f"one picture with {labels} labels teaches neither, and was left out"
    return f"the dataset keeps it as {contradiction.labels[0]!r}, example {contradiction.example}"


def _print_next(dataset: Dataset) -> None:
    """Print the next command: a training, or more pictures if there are too few for one."""
    name, used = shlex.quote(dataset.name), [label.examples for label in dataset.labels if label.examples]
    line = f"inferq train {name} --name MODEL"
    is_multi_label = dataset.problem_type == MULTI_LABEL
    if len(used) < (1 if is_multi_label else _FEWEST) or min(used) < _FEWEST:
        labels = "a label with two pictures" if is_multi_label else "two labels, with two pictures each"
        line = f"inferq datasets add {name} FOLDER    training needs {labels}"
    console.remarks.print(Text.assemble(("\nnext ", "dim"), line), soft_wrap=True)
