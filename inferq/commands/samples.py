"""`inferq samples` copies sample photographs into a folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import click
from rich.text import Text

from inferq.commands import console
from inferq.errors import InferqError
from shared.samples import INSTALL, PHOTOS, installed


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def samples(folder: Path) -> None:
    """Copy sample photographs into FOLDER.

    They come from scikit-image and scikit-learn, which the extra `demo` installs.
    """
    paths = installed()
    if not paths:
        raise InferqError(f"there are no photographs here; install them with: {INSTALL}")
    folder.mkdir(parents=True, exist_ok=True)
    for photo in PHOTOS:
        if path := paths.get(photo.name):
            if (folder / photo.name).exists():
                console.remarks.print(f"{folder / photo.name} exists already and is left unchanged", soft_wrap=True)
                continue
            shutil.copyfile(path, folder / photo.name)
            console.out.print(Text.assemble(str(folder / photo.name), (f"  {photo.terms}", "dim")), soft_wrap=True)
