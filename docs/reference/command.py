"""`python docs/reference/command.py` writes command.md, every command with its options, from the command itself."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run as a script, this folder is the path

from docs.tables import origin, table, write
from inferq.cli import COMMANDS, SERVER, main
from inferq.commands import options

HEAD = """\
# The command

`--help` behind a command prints what is written here. `--url` (or `INFERQ_URL`) and `--key` (or `INFERQ_KEY`) name the
server and the key. A command exits with 0, or with 1 and one line on standard error if something is wrong, or with 2 if
it was called in a wrong way.

"""
PROGRAMS = {"bench": "bench.__main__", "chaos": "bench.chaos.__main__"}
"""Command -> the program to which it hands its options on."""
_SHARED = click.command()(options.server(lambda client: None))
COMMON = [(option.opts, option.help) for option in _SHARED.params if isinstance(option, click.Option)]
"""Options that are explained once, above, with their meanings; `--url` of some commands has another one."""


def pages() -> dict[str, str]:
    """Return name -> text."""
    lines = [HEAD + origin("command", "inferq/commands"), ""]
    lines += table(("command", "what it does"), ((f"[`{name}`](#inferq-{name})", COMMANDS[name]) for name in COMMANDS))
    context = click.Context(main, info_name="inferq")
    for name in COMMANDS:
        lines += section(main, context, name)
    return {"command.md": "\n".join(lines).rstrip() + "\n"}


def section(group: click.Group, above: click.Context, name: str) -> Iterator[str]:
    """Yield the lines of a command of a group, and then those of the commands below it."""
    command = find(group, above, name)
    context = click.Context(command, parent=above, info_name=name)
    path = context.command_path
    yield from (f"{'##' if above.parent is None else '###'} `{path}`", "")
    if name in SERVER and above.parent is None:
        yield from ("It needs the extra `server`.", "")
    yield from (inspect.cleandoc(command.help or ""), "")
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            yield from section(command, context, below)
        return
    usage = " ".join(command.collect_usage_pieces(context))
    yield from ("```text", f"{path} {usage}", "```", "")
    own = [option for option in command.params if isinstance(option, click.Option) and not_common(option)]
    yield from table(("option", "meaning"), (row(option, context) for option in own))
    if command.epilog:
        yield from (command.epilog, "")


def find(group: click.Group, above: click.Context, name: str) -> click.Command:
    """Return a command of a group, or the program to which it hands its options on; raises KeyError."""
    if group is main and name in PROGRAMS:
        program: click.Command = importlib.import_module(PROGRAMS[name]).main
        return program
    command = group.get_command(above, name)
    if command is None:
        raise KeyError(name)
    return command


def not_common(option: click.Option) -> bool:
    """Return False for an option that is explained once for all commands."""
    return not option.hidden and (option.opts, option.help) not in COMMON


def row(option: click.Option, context: click.Context) -> tuple[str, str]:
    """Return the cells of an option."""
    names, meaning = option.get_help_record(context) or ("", "")
    return f"`{names}`", meaning


if __name__ == "__main__":
    write(pages())
