"""What the scripts of generated pages share: tables in Markdown, and writing the pages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

REFERENCE = Path(__file__).resolve().parent / "reference"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table, with an empty line after it; without rows, nothing."""
    lines = [f"| {' | '.join(map(cell, row))} |" for row in rows]
    return [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads), *lines, ""] if lines else []


def cell(text: str) -> str:
    """Return a text on one line, without a character that ends a cell."""
    return " ".join(text.split()).replace("|", "\\|")


def origin(script: str, source: str) -> str:
    """Return the sentence that says where a page comes from."""
    return f"This page is written by `python docs/reference/{script}.py` from `{source}`; a test fails while it is old."


def write(pages: Mapping[str, str]) -> None:
    """Write name -> text into the folder of the reference."""
    for name, text in pages.items():
        (REFERENCE / name).write_text(text)
