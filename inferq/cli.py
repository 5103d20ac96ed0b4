"""The `inferq` command: a table of its commands, each loaded only when it is called."""

from __future__ import annotations

import copy
import importlib
import re
from typing import NoReturn

import click
from click.shell_completion import CompletionItem

from inferq import __version__, installed
from inferq.errors import CannotStart, InferqError, InferqHTTPError

COMMANDS = {
    "up": "Start the whole service on this machine; Ctrl-C drains and stops it.",
    "demo": "Start the service temporarily, classify photographs, and show the labels.",
    "samples": "Copy sample photographs into FOLDER.",
    "classify": "Classify pictures.",
    "search": "Find the stored images and examples of datasets that are most similar to a picture.",
    "jobs": "List, show, wait for, cancel, retry and delete jobs; fetch their results.",
    "datasets": "Create, add to, list, show, examine, correct and delete datasets to train on.",
    "train": "Train a model on a dataset, and follow it to the end.",
    "trainings": "List, show, wait for and cancel trainings; save their evidence.",
    "feedback": "Correct a wrong prediction; the next training learns from it.",
    "models": "List, show, add, import, export, remove, compare and promote models; suggest what to label.",
    "status": "Show whether the service is ready, what it does, and what is wrong.",
    "queue": "Show how many pictures wait and run, by model and priority.",
    "workers": "Show the running workers and trainers.",
    "logs": "Show the logs of `inferq up`.",
    "webhooks": "List, show and resend webhooks; ping a receiver; rotate the secret.",
    "keys": "Create, list and revoke API keys.",
    "tenants": "Show what tenants use; show and set how much they may keep and send.",
    "bench": "Measure throughput and latency of the real HTTP path.",
    "chaos": "Break the service under load, part by part, and check that nothing is lost.",
    "doctor": "Check that this machine has all that inferq needs.",
    "completion": "Print the script that completes commands and options in a shell.",
}
"""Name -> help. Each command is the click command NAME in `inferq/commands/NAME.py`. The line is repeated here so that
`inferq --help` need not import httpx and rich."""
SERVER = ("up", "demo", "bench", "chaos")
"""Commands that run the service on this machine; the others need only the client."""


class Commands(click.Group):
    """The group loads a command when it is called, and prints an error as one line with an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order in which a new user needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command from its file; None if there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        command = getattr(importlib.import_module(f"inferq.commands.{cmd_name}"), cmd_name)
        if cmd_name in SERVER and not installed.has_server():
            command = copy.copy(command)  # its --help still works
            command.callback = _refuse
        return command if isinstance(command, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands in `--help` from the table."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the commands that begin so, from the table, as loading all of them would take a second."""
        named = [CompletionItem(name, help=line) for name, line in COMMANDS.items() if name.startswith(incomplete)]
        return [*named, *click.Command.shell_complete(self, ctx, incomplete)]

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; exits with the code of the error, and with 130 on Ctrl-C."""
        try:
            return super().invoke(ctx)
        except InferqError as error:
            click.echo(f"inferq: {words(error)}", err=True)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            ctx.exit(130)


def _refuse(**_: object) -> NoReturn:
    """Replace a command that needs the server where only the client is installed; raises CannotStart."""
    raise CannotStart(f"this command needs the server; {installed.HOW_TO_GET_IT}")


FLAGS = {
    "architecture": "--arch",
    "labels": "--labels",
    "weights": "--weights",
    "state_key": "--state-key",
    "preprocessing": "--preprocessing",
    "resize": "--resize",
    "crop": "--crop",
    "mean": "--mean",
    "std": "--std",
    "mode": "--mode",
    "public_key": "--public-key",
    "scopes": "--scope",
    "expires": "--expires",
}
"""Field of the native API -> its option here. Messages name the field, in backticks: most callers have no options."""


def words(error: InferqError) -> str:
    """Return an error message that is written for every client in the words of the command line."""
    text = re.sub(r"`(\w+)`", lambda found: FLAGS.get(found[1], found[0]), str(error))
    is_refused = isinstance(error, InferqHTTPError) and error.status == 401
    return f"{text} On the command line: --key KEY, or INFERQ_KEY." if is_refused else text


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="inferq")
def main() -> None:
    """Asynchronous image classification: submit pictures, fetch labels.

    Commands that talk to a server take --url (INFERQ_URL) and --key (INFERQ_KEY).
    """
