"""`inferq models export` writes a version into a folder, from which it can be imported again."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from inferq.client import Client
from inferq.commands import console, options

FORMATS = ("safetensors", "onnx")


@click.command()
@click.argument("name")
@click.option("--version", default="", help="The version; by default the default version.")
@click.option("--format", type=click.Choice(FORMATS), default=FORMATS[0], show_default=True,
              help="The tensors alone, or the whole network.")  # fmt: skip
@click.option("--out", "folder", type=click.Path(path_type=Path), help="The folder; by default NAME-VERSION.")
@options.server
def export(client: Client, name: str, version: str, format: str, folder: Path | None) -> None:
    """Write a version into a folder.

    With its weights, labels, preprocessing and evidence; from there it can be imported again.

    \b
      inferq models export birds
      inferq models export birds --version 2 --format onnx --out birds-onnx
    """
    version = version or client.models.get(name).default_version
    folder = folder or Path(f"{name.replace('/', '-')}-{version}")
    with console.remarks.status(f"exporting {name} {version}") as line:

        def show(done: int) -> None:
            what = f"{done / 1e6:.0f} MB" if done else f"converting it to {format}"
            line.update(f"exporting {name} {version}: {what}")

        client.models.export(name, version, format, folder, progress=show)
    size = sum(path.stat().st_size for path in folder.iterdir())
    console.out.print(f"{folder}: {name} {version} as {format}, {size / 1e6:.1f} MB", soft_wrap=True)
    back = shlex.join(("inferq", "models", "import", name, "--weights", str(folder)))
    console.remarks.print(f"as the next version, here or elsewhere: {back}", soft_wrap=True)
