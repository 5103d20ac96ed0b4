"""`inferq bench` passes its arguments to the benchmark, which is a separate program."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence

import click

from inferq.errors import InferqError


@click.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def bench(arguments: tuple[str, ...]) -> None:
    """Measure throughput and latency of the real HTTP path."""
    hand_on("bench", arguments)


def hand_on(program: str, arguments: Sequence[str]) -> None:
    """Replace this process by the program, so that it receives Ctrl-C and sets the exit code; raises InferqError."""
    if importlib.util.find_spec("bench") is None:
        raise InferqError("the benchmark is not installed here; run it from a checkout of the project")
    os.execv(sys.executable, [sys.executable, "-P", "-m", program, *arguments])  # noqa: S606
