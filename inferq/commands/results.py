"""The answers of `inferq classify` as programs read them, lines of JSON or CSV, and how a file of them is resumed."""

from __future__ import annotations

import csv
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TextIO

import click
import msgspec

from inferq.client import Answered
from inferq.errors import InferqError
from shared.schemas.jobs import Prediction

Format = Literal["rows", "json", "csv"]
Key = tuple[str, str]
"""A file as it was named, and the SHA-256 of its bytes."""

_COLUMNS = (
    "file", "name", "rank", "label", "score", "error", "doubt", "model", "version", "job", "position", "sha256",
)  # fmt: skip
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What a text begins with that spreadsheets take for a formula, or skip before one."""


def format_of(out: Path | None) -> Format:
    """Return the format of a file of results by its name, or of stdout."""
    if out is None:
        return "rows"
    return "csv" if out.suffix.lower() == ".csv" else "json"


def json_line(answered: Answered) -> str:
    """Return the answer for a picture as one line of JSON."""
    return f"{json.dumps(_head(answered) | msgspec.to_builtins(answered.prediction), ensure_ascii=False)}\n"


def csv_rows(answered: Answered) -> str:
    """Return the answer for a picture as rows of CSV, one for each label, at least one."""
    head = _head(answered)
    rows = [head | row for row in _labels(answered.prediction)]
    return _csv([[_cell(row.get(column, "")) for column in _COLUMNS] for row in rows])


def _head(answered: Answered) -> dict[str, Any]:
    job = answered.job
    return {
        "file": answered.source.file,
        "sha256": answered.digest,
        "job": job.id if job else "",
        "model": job.model.name if job else "",
        "version": job.model.version if job else "",
        "position": answered.position,
        "name": answered.prediction.name,
    }


def _labels(prediction: Prediction) -> Iterator[dict[str, Any]]:
    """Yield rank, label and score of each label, or one row without them."""
    doubt = prediction.doubt.code if prediction.doubt else ""
    for rank, result in enumerate(prediction.results, 1):
        yield {"rank": rank, "label": result.label, "score": result.score, "doubt": doubt}
    if not prediction.results:
        features = " ".join(map(repr, prediction.feature_vectors))
        yield {"score": features, "doubt": doubt, "error": prediction.error.message if prediction.error else ""}


def _cell(value: object) -> object:
    """Return a value as a spreadsheet shows it: before a text that it would take for a formula stands an apostrophe."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _csv(rows: Iterable[Iterable[object]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


WRITERS: dict[Format, Callable[[Answered], str]] = {"json": json_line, "csv": csv_rows}
_HEADS: dict[Format, str] = {"json": "", "csv": _csv([_COLUMNS])}


@contextmanager
def opened(out: Path | None, format: Format) -> Iterator[Callable[[Sequence[Answered]], None]]:
    """Yield a function that writes answers at the end of a file, or without one on stdout.

    They are in the file when the function returns. Raises InferqError if they cannot be written.
    """
    if out is None:
        click.echo(_HEADS[format], nl=False)
        yield lambda answers: click.echo("".join(map(WRITERS[format], answers)), nl=False)
        return
    try:
        with out.open("a", encoding="utf-8", newline="") as file:

            def append(answers: Sequence[Answered]) -> None:
                text = "".join(map(WRITERS[format], answers))
                try:  # in one write, so that an archive is in the file as a whole, or else its last line is cut
                    file.write(text if file.tell() else _HEADS[format] + text)
                    file.flush()
                except OSError as error:
                    raise _cannot_write(out, error) from error

            yield append
    except OSError as error:
        raise _cannot_write(out, error) from error


def _cannot_write(out: Path, error: OSError) -> InferqError:
    return InferqError(f"cannot write {out}: {error.strerror or error}; go on with the same command and --resume")


def resume(out: Path, format: Format) -> set[Key]:
    """Return the files that have their answers in a file of results, and remove the lines of all others from it.

    These are files with an error, which are tried again, and the last one if its command was killed while it wrote.
    Raises InferqError for a file that holds other things.
    """
    if not out.exists():
        return set()
    done: set[Key] = set()
    failed: set[Key] = set()
    try:
        key = ("", "")
        for key, error, _ in _entries(out, format):
            (failed if error else done).add(key)
        if _is_cut(out):
            failed.add(key)
        with tempfile.NamedTemporaryFile("w", dir=out.parent, prefix=f".{out.name}.", delete=False, encoding="utf-8",
                                         newline="") as kept:  # fmt: skip
            kept.write(_HEADS[format])
            kept.writelines(text for key, _, text in _entries(out, format) if key not in failed)
        os.chmod(kept.name, out.stat().st_mode & 0o777)
        os.replace(kept.name, out)
    except OSError as error:
        raise _cannot_write(out, error) from error
    return done - failed


def _entries(out: Path, format: Format) -> Iterator[tuple[Key, str, str]]:
    """Yield (file, error, text) for each whole line of a file of results."""
    with out.open(encoding="utf-8", errors="replace", newline="") as file:
        try:
            yield from _csv_entries(file) if format == "csv" else _json_entries(file)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InferqError(
                f"{out} holds other things than results of inferq classify in this format; name another --out"
            ) from error


def _json_entries(file: TextIO) -> Iterator[tuple[Key, str, str]]:
    for line in file:
        if line.endswith("\n"):
            entry = json.loads(line)
            yield (entry["file"], entry["sha256"]), (entry.get("error") or {}).get("message", ""), line


def _csv_entries(file: TextIO) -> Iterator[tuple[Key, str, str]]:
    lines = [*file]
    for row in csv.DictReader(lines if not lines or lines[-1].endswith("\n") else lines[:-1]):
        name = row["file"]
        is_guarded = name.startswith("'") and name[1:].startswith(_FORMULA)
        yield (name[is_guarded:], row["sha256"]), row["error"], _csv([[row[column] for column in _COLUMNS]])


def _is_cut(out: Path) -> bool:
    """Return True if the last line of a file has no end."""
    with out.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
        return file.read() not in (b"", b"\n")
