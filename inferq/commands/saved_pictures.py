"""Pictures that a command fetches are written into a folder, each as `ID-NAME`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePath

from inferq.commands import console


def save(folder: Path, pictures: Iterable[tuple[str, str, bytes]]) -> None:
    """Write (id, name, bytes) of each picture into the folder, which is made, and print how many there are."""
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    for about, name, data in pictures:
        (folder / _file_name(about, name)).write_bytes(data)
        count += 1
    console.remarks.print(f"wrote {console.count(count, 'picture')} into {folder}", soft_wrap=True)


def _file_name(about: str, name: str) -> str:
    """Return a name that lies in the folder, whatever the sender has called the picture."""
    last = PurePath(name.replace("\\", "/")).name
    plain = "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in last)
    return f"{about}-{plain[-100:]}" if plain.strip(".") else about
