"""`inferq datasets suspects`, `relabel`, `keep` and `remove`: decide on labels that are probably wrong."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from inferq.client import Client
from inferq.commands import console, labelling, options, saved_pictures

_NAME = click.argument("name")
_ID = click.IntRange(min=1)
_IDS = click.argument("examples", metavar="ID...", type=_ID, nargs=-1, required=True)


@click.command()
@_NAME
@click.option("--limit", default=20, show_default=True, type=click.IntRange(min=1), help="At most so many pictures.")
@click.option(
    "--save", "folder", type=click.Path(file_okay=False, path_type=Path), help="Write the pictures into this folder."
)
@options.JSON
@options.server
def suspects(client: Client, name: str, *, limit: int, folder: Path | None, as_json: bool) -> None:
    """List the pictures whose label is probably wrong.

    The newest training of the dataset doubts these labels; the most doubtful is listed first.
    The score is the probability of the present label; a dash is no label. --limit bounds the
    table and the saved pictures; --json lists all.

    \b
      inferq datasets suspects mugs --save doubted
      inferq datasets relabel mugs ID red
    """
    found = client.datasets.suspects(name)
    listed = found.suspects[:limit]
    if folder is not None:
        saved_pictures.save(
            folder,
            ((str(each.example.id), each.example.name, client.datasets.picture(name, each.example.id))
             for each in listed),
        )  # fmt: skip
    if as_json:
        console.print_json(found)
        return
    doubted = f"the newest training left no label of {name} in doubt"
    console.print_rows(
        (
            (each.example.name, each.label or "–", each.suggested or "–", f"{each.score:.2f}", each.example.id)
            for each in listed
        ),
        "picture", "label", "rather", "score", "id",
        empty=doubted if found.training else f"no training on {name} has ended yet",
    )  # fmt: skip
    if hidden := len(found.suspects) - len(listed):
        console.remarks.print(f"and {hidden} more: --limit {len(found.suspects)} lists them", soft_wrap=True)
    if listed:
        quoted = shlex.quote(name)
        console.remarks.print(
            f"next inferq datasets relabel {quoted} ID LABEL, or inferq datasets keep {quoted} ID", soft_wrap=True
        )


@click.command()
@_NAME
@click.argument("example", metavar="ID", type=_ID)
@click.argument("labels", metavar="LABEL", nargs=-1)
@click.option("--none", "is_none", is_flag=True, help="The picture shows no label of its multi-label dataset.")
@options.JSON
@options.server
def relabel(client: Client, name: str, example: int, labels: tuple[str, ...], *, is_none: bool, as_json: bool) -> None:
    """Give a picture of a dataset the right label.

    ID is that of `inferq datasets suspects`, or of any example. For a multi-label
    dataset name all labels that the picture shows. The next training learns from them.
    The example gets a new id: versions that were trained on keep it as it was.
    """
    after = client.datasets.relabel(name, example, labelling.right(labels, is_none=is_none))
    labelling.tell(after, labels, as_json=as_json)


@click.command()
@_NAME
@_IDS
@options.server
def keep(client: Client, name: str, examples: tuple[int, ...]) -> None:
    """Keep the labels of suspects: they are right.

    Later trainings do not bring them up again.
    """
    for example in examples:
        client.datasets.keep_label(name, example)
    console.remarks.print(f"kept the labels of {console.count(len(examples), 'picture')}")


@click.command()
@_NAME
@_IDS
@options.server
def remove(client: Client, name: str, examples: tuple[int, ...]) -> None:
    """Take pictures out of a dataset.

    ID is that of an example. Versions of the dataset that were trained on keep it.
    """
    for example in examples:
        client.datasets.remove_example(name, example)
    console.remarks.print(f"removed {console.count(len(examples), 'picture')} of {name}", soft_wrap=True)


COMMANDS = (suspects, relabel, keep, remove)
