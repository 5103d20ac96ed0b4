"""The pictures that words of the command line name: files, folders, globs, URLs, and `-` for standard input."""

from __future__ import annotations

import glob
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from inferq.client import Source, folder_archive
from inferq.client.pictures import is_url, readable
from inferq.commands import console

SUFFIXES = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".ppm", ".pgm", ".pbm",
    ".pnm", ".pfm", ".heic", ".heif", ".hif", ".avif",
})  # fmt: skip
"""Ends of the names of the files that are taken from a folder, in lower case. The server goes by their bytes."""
STDIN = "-"


def find(words: Iterable[str]) -> list[Source]:
    """Return the pictures that the words name, in their order, those of a folder sorted.

    Prints a remark on files of folders that are left out. Raises BadParameter for a word that names nothing.
    """
    found: list[Source] = []
    left_out: list[Path] = []
    for word in words:
        if word == STDIN:
            found.append(Source(STDIN, ("stdin", sys.stdin.buffer.read()), "stdin"))
        elif is_url(word):
            found.append(Source(readable(word), readable(word)))
        else:
            for path in _paths(word):
                found += _below(path, left_out) if path.is_dir() else [Source(readable(str(path)), path)]
    if left_out:
        them = f"{console.count(len(left_out), 'file')} whose names are not those of pictures"
        console.remarks.print(f"left out {them}, such as {left_out[0]}", soft_wrap=True)
    if not found:
        raise click.BadParameter("there are no pictures in it", param_hint="SOURCES")
    return found


def _paths(word: str) -> list[Path]:
    """Return the path of that name, or those that a pattern matches."""
    if Path(word).exists():  # also a name that looks like a pattern
        return [Path(word)]
    if glob.has_magic(word):
        if matches := sorted(glob.glob(word, recursive=True)):
            return [Path(match) for match in matches]
        raise click.BadParameter(f"no file matches {word!r}", param_hint="SOURCES")
    raise click.BadParameter(f"{word!r} is neither a file nor a folder nor a URL", param_hint="SOURCES")


def _below(folder: Path, left_out: list[Path]) -> Iterator[Source]:
    """Yield the pictures below a folder, whose names in their job tell the folders below it."""
    for path in folder_archive.files_below(folder):
        if path.suffix.lower() in SUFFIXES:
            yield Source(readable(str(path)), path, readable(path.relative_to(folder).as_posix()))
        else:
            left_out.append(path)
