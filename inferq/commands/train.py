"""`inferq train`: a dataset in, a version of a model out."""

from __future__ import annotations

from typing import Any

import click

from inferq.client import Client
from inferq.commands import console, options
from inferq.commands.trainings import follow_to_end


@click.command()
@click.argument("dataset")
@click.option("--name", required=True, help="The model; one that there is already gets another version.")
@click.option("--base", default="", help="The model to start from, or `scratch`; the best at hand if not given.")
@click.option("--epochs", type=click.IntRange(min=1), help="At most; 100 if not given.")
@click.option("--learning-rate", type=float, help="0.001 if not given.")
@click.option("--batch-size", type=click.IntRange(min=1), help="Pictures of one step; 32 if not given.")
@click.option("--patience", "max_unimproved_epochs", type=click.IntRange(min=1),
              help="Epochs without improvement after which it is enough; 10 if not given.")  # fmt: skip
@click.option("--split", "train_split_ratio", type=float, help="Share of each label that trains; 0.8 if not given.")
@click.option("--seed", type=int,
              help="The same data and seed give the same model; another seed also splits the pictures differently. "
                   "0 if not given.")  # fmt: skip
@click.option("--fine-tune", type=click.Choice(["auto", "always", "never"]),
              help="Train the base's last stages too. always: tried always, kept only if it is better; "
                   "auto: tried where it may help. auto if not given.")  # fmt: skip
@click.option("--no-flip", is_flag=True, help="Mirrored pictures mean something else, as digits and letters do.")
@click.option("--no-feedback", is_flag=True, help="Leave out corrections of wrong predictions.")
@click.option("--detach", is_flag=True, help="Print the training's id and do not wait.")
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
