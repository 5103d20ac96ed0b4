"""`inferq train` trains a version of a model on a dataset."""

from __future__ import annotations

from typing import Any

import click

from inferq.client import Client
from inferq.commands import console, options
from inferq.commands.trainings import follow_to_end


@click.command()
@click.argument("dataset")
@click.option("--name", required=True, help="The model; an existing model gets another version.")
@click.option("--base", default="", help="The model to start from, or `scratch`; by default the best that is ready.")
@click.option("--epochs", type=click.IntRange(min=1), help="Most epochs; 100 by default.")
@click.option("--learning-rate", type=float, help="0.001 by default.")
@click.option("--batch-size", type=click.IntRange(min=1), help="Pictures per step; 32 by default.")
@click.option("--patience", "max_unimproved_epochs", type=click.IntRange(min=1),
              help="Epochs without improvement after which the training stops; 10 by default.")  # fmt: skip
@click.option("--split", "train_split_ratio", type=float, help="Share of each label for training; 0.8 by default.")
@click.option("--seed", type=int,
              help="The same data and seed give the same model; another seed also splits the pictures differently, so "
                   "that versions may have no test picture in common. 0 by default.")  # fmt: skip
@click.option("--fine-tune", type=click.Choice(["auto", "always", "never"]),
              help="Whether the last stages of the base are trained too. always: tried, and kept if it is better; "
                   "auto (the default): tried if it may help.")  # fmt: skip
@click.option(
    "--no-flip", is_flag=True, help="Do not train on mirrored pictures, as digits and letters change their meaning."
)
@click.option("--no-feedback", is_flag=True, help="Leave out corrections of wrong predictions.")
@click.option("--reject-below-precision", type=click.FloatRange(0.5, 0.999), metavar="SHARE",
              help="Have the version say which answers it does not believe, so that this share of the others is right: "
                   "0.95.")  # fmt: skip
@click.option("--unknown-label", help="The label of such answers on wires that have no word for doubt.")
@options.DETACH
@options.JSON
@options.server
def train(
    client: Client, dataset: str, name: str, *, base: str, no_flip: bool, no_feedback: bool, detach: bool,
    as_json: bool, **parameters: Any,
) -> None:  # fmt: skip
    """Train a model on a dataset, and follow it to the end.

    \b
      inferq datasets create flowers flowers/
      inferq train flowers --base mobilenet_v2 --name flowers
      inferq classify --model flowers rose.jpg

    Ctrl-C leaves the training running. Exits with 1 unless it is DONE.
    """
    parameters["flip"] = False if no_flip else None
    parameters["with_feedback"] = False if no_feedback else None
    training = client.trainings.start(dataset, name, base=base, **parameters)
    if not detach:
        follow_to_end(client, training.id, as_json)
    elif as_json:
        console.print_json(training)
    else:
        click.echo(training.id)
