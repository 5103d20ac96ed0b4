"""`inferq models keep-seen`, `suggest`, `label` and `dismiss`: label the pictures from which a model learns most."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from inferq.client import Client
from inferq.commands import console, labelling, options, saved_pictures
from shared.schemas.suggestions import SeenPictures

_WORDS = {"uncertain": "uncertain", "unlike_training": "unlike the training"}


@click.command("keep-seen")
@click.argument("name")
@click.option("--most", type=click.IntRange(min=1), help="Keep so many pictures at most; by default 1000.")
@click.option("--days", type=click.IntRange(min=1), help="Keep each for so many days; by default 30.")
@click.option("--off", is_flag=True, help="Keep none, and remove those that are kept.")
@click.option("--show", is_flag=True, help="Say what is kept, and change nothing.")
@options.JSON
@options.server
def keep_seen(
    client: Client, name: str, *, most: int | None, days: int | None, off: bool, show: bool, as_json: bool
) -> None:
    """Keep the pictures that a model is unsure about, to label them.

    Of the pictures that jobs send from now on. By default none are kept.

    \b
      inferq models keep-seen flowers --most 10000
      inferq models keep-seen flowers --off
    """
    if (off and show) or ((off or show) and (most is not None or days is not None)):
        raise click.UsageError("--off and --show take no other option")
    if off:
        client.models.drop_seen(name)
    elif not show:
        client.models.keep_seen(name, most=most, days=days)
    seen = client.models.get_seen(name)
    if as_json:
        console.print_json(seen)
    else:
        console.out.print(_describe(seen), soft_wrap=True)


@click.command()
@click.argument("name")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 100), help="At most so many pictures.")
@click.option("--version", default="", help="The version that has seen them; by default the default version.")
@click.option(
    "--save", "folder", type=click.Path(file_okay=False, path_type=Path), help="Write the pictures into this folder."
)
@options.JSON
@options.server
def suggest(client: Client, name: str, *, limit: int, version: str, folder: Path | None, as_json: bool) -> None:
    """List the seen pictures that are most worth labelling.

    They are uncertain or unlike the training, and different from each other.

    \b
      inferq models suggest flowers --save worth-labelling
      inferq models label flowers ID rose
    """
    found = client.models.suggestions(name, limit=limit, version=version)
    if folder is not None:
        saved_pictures.save(
            folder,
            ((each.id, each.name, client.models.suggested_picture(name, each.id)) for each in found.suggestions),
        )
    if as_json:
        console.print_json(found)
        return
    console.print_rows(
        (
            (each.id, each.label, f"{each.score:.2f}", ", ".join(_WORDS.get(why, why) for why in each.why), each.name)
            for each in found.suggestions
        ),
        "id", "answer", "score", "why", "picture",
        empty=f"no picture that {name} {found.version} has seen is worth labelling so far",
    )  # fmt: skip
    others = [f"{each.version} ({each.pictures})" for each in found.seen if each.version != found.version]
    if others and not found.suggestions:
        console.remarks.print(f"pictures seen by other versions: {', '.join(others)}", soft_wrap=True)
    if found.suggestions:
        dataset = "" if found.dataset else " --dataset DATASET"
        console.remarks.print(f"next inferq models label {shlex.quote(name)} ID LABEL{dataset}", soft_wrap=True)


@click.command()
@click.argument("name")
@click.argument("suggestion", metavar="ID")
@click.argument("labels", metavar="LABEL", nargs=-1)
@click.option("--none", "is_none", is_flag=True, help="The picture shows no label of its multi-label dataset.")
@click.option("--dataset", help="The dataset to add the picture to; required for a model that was not trained here.")
@options.JSON
@options.server
def label(
    client: Client, name: str, suggestion: str, labels: tuple[str, ...], *, is_none: bool, dataset: str | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Label a suggested picture; the next training learns from it.

    ID is that of `inferq models suggest`. The picture becomes an example of the dataset
    that the model was trained on, or of --dataset. For a multi-label dataset name all
    labels that the picture shows.
    """
    right = labelling.right(labels, is_none=is_none)
    example = client.models.label_suggestion(name, suggestion, right, dataset=dataset)
    labelling.tell(example, labels, as_json=as_json)


@click.command()
@click.argument("name")
@click.argument("suggestions", metavar="ID...", nargs=-1, required=True)
@options.server
def dismiss(client: Client, name: str, suggestions: tuple[str, ...]) -> None:
    """Have pictures suggested no more, nor copies of them."""
    for suggestion in suggestions:
        client.models.dismiss_suggestion(name, suggestion)
    console.remarks.print(f"dismissed {console.count(len(suggestions), 'picture')}")


COMMANDS = (keep_seen, suggest, label, dismiss)


def _describe(seen: SeenPictures) -> str:
    if not seen.keeping:
        return f"pictures that {seen.model} sees are not kept"
    kept = console.count(seen.pictures, "picture")
    return (
        f"{seen.model} keeps pictures that are worth labelling: {seen.most} at most, for {seen.days} days; "
        f"now {kept}, {seen.bytes / 1e6:.1f} MB"
    )
