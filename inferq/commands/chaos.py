"""`inferq chaos` passes its arguments to the proof that nothing is lost, which is a separate program."""

from __future__ import annotations

import click

from inferq.commands.bench import hand_on


@click.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def chaos(arguments: tuple[str, ...]) -> None:
    """Break the service under load, part by part, and check that nothing is lost."""
    hand_on("bench.chaos", arguments)
