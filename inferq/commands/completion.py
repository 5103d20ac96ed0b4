"""`inferq completion` prints the script by which a shell completes commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from inferq.errors import InferqError

_SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that completes commands and options in a shell.

    \b
      eval "$(inferq completion bash)"                  in ~/.bashrc
      eval "$(inferq completion zsh)"                   in ~/.zshrc
      inferq completion fish > ~/.config/fish/completions/inferq.fish
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise InferqError(f"this version of click has no completion for {shell}")
    click.echo(kind(context.find_root().command, {}, "inferq", "_INFERQ_COMPLETE").source())
