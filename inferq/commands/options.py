"""The options that commands share, and the client that is built from them."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from inferq.client import Client
from inferq.client.connection import DEFAULT_URL
from inferq.commands import units
from inferq.stack import data_dir

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
DATA = click.option(
    "--data", envvar="INFERQ_DATA", type=click.Path(path_type=Path), default=data_dir.default,
    help="The data folder; by default ~/.local/share/inferq.",
)  # fmt: skip
SINCE = click.option(
    "--since", default="", callback=units.moment, metavar="WHEN",
    help="Only those of jobs created then or later: 2h and 7d are so long ago; or a time in RFC 3339, or Unix seconds.",
)  # fmt: skip
UNTIL = click.option(
    "--until", default="", callback=units.moment, metavar="WHEN", help="Only those of jobs created before then."
)
DETACH = click.option("--detach", is_flag=True, help="Print the id without waiting.")
TIMEOUT = click.option(
    "--timeout", type=click.FloatRange(min=0), metavar="SECONDS",
    help="Give up waiting after so long; by default the command waits as long as the work goes on.",
)  # fmt: skip
JSON = click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON instead of a table.")


def server(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command --url and --key, and call it with the client as its first argument."""

    @click.option(
        "--url", envvar="INFERQ_URL", default=DEFAULT_URL, show_default=True, show_envvar=True,
        help="The address of the server.",
    )  # fmt: skip
    @click.option("--key", envvar="INFERQ_KEY", default="", show_envvar=True, help="An API key.")
    @wraps(command)
    def with_client(url: str, key: str, **arguments: Any) -> Any:
        with Client(url, key) as client:
            return command(client, **arguments)

    return with_client
