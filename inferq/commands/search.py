"""`inferq search` finds similar pictures and prints them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypedDict, Unpack

import click

from inferq.client import Client
from inferq.commands import console, options
from inferq.errors import InferqHTTPError
from shared.schemas.searches import Similar


class Wanted(TypedDict):
    """The options of a search, as the client takes them."""

    dataset: str | None
    images: bool
    model: str | None
    version: str | None
    limit: int


@click.command()
@click.argument("picture", metavar="FILE", type=options.FILE)
@click.option("--dataset", help="Id or name of a dataset whose examples are searched, and no other pictures.")
@click.option("--images", is_flag=True, help="Search the stored images, beside the dataset if one is named.")
@click.option("--model", help="The model whose features are compared; by default the server's default model.")
@click.option("--version", help="The version of the model; by default its default version.")
@click.option("--limit", default=10, show_default=True, type=click.IntRange(min=1), help="At most this many pictures.")
@options.TIMEOUT
@options.JSON
@options.server
def search(client: Client, picture: Path, timeout: float | None, as_json: bool, **wanted: Unpack[Wanted]) -> None:
    """Find the stored images and examples of datasets that are most similar to a picture.

    All of them are searched, or those that the options name. The first search of a
    collection has the features of its pictures computed in the background; search again a while later.

    \b
      inferq search duck.jpg
      inferq search duck.jpg --dataset birds --model resnet50
    """
    job = client.jobs.search(picture, timeout=math.inf if timeout is None else timeout, **wanted)
    if as_json:
        console.print_json(job)
        return
    for prediction in job.predictions:
        if prediction.similar:
            _print(prediction.similar, _datasets(client, prediction.similar))


def _datasets(client: Client, found: Similar) -> dict[int, str]:
    """Return the names of the datasets that hits belong to, by id; of one that was deleted, its number."""
    names = {hit.dataset_id: f"dataset {hit.dataset_id}" for hit in found.hits if hit.dataset_id}
    for dataset_id in names:
        with suppress(InferqHTTPError):
            names[dataset_id] = client.datasets.get(dataset_id).name
    return names


def _print(found: Similar, datasets: Mapping[int, str]) -> None:
    """Print the pictures that were found, and a remark if not all were compared."""
    console.print_rows(
        (
            (
                hit.name,
                hit.label,
                hit.image_id or f"{datasets[hit.dataset_id]}, example {hit.example_id}",
                f"{hit.similarity:.4f}",
                console.bar(max(0.0, hit.similarity)),
            )
            for hit in found.hits
        ),
        "file", "label", "picture", "similarity", "",
        empty="no similar picture was found" if found.of else "no stored image or example can be searched",
    )  # fmt: skip
    if found.searched < found.of:
        console.remarks.print(
            f"{found.searched} of {console.count(found.of, 'picture')} were compared; the features of the others are "
            "computed in the background, so search again later",
            soft_wrap=True,
        )
