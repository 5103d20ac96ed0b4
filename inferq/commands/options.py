"""The options that commands share, and the client that is built from them."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from inferq.client import Client
from inferq.client.connection import DEFAULT_URL
from inferq.stack import data_dir

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
PICTURES = click.argument("pictures", metavar="FILES...", nargs=-1, required=True, type=FILE)
DATA = click.option(
    "--data", envvar="INFERQ_DATA", type=click.Path(path_type=Path), default=data_dir.default,
    help="The data folder; by default ~/.local/share/inferq.",
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
