"""Label tables name the pictures of an archive and their labels, where no folders do (rules, no I/O).

    labels.csv, metadata.csv        a heading `file,labels`, labels between `|` or `;`; or a column of 0 and 1 per label
    labels.json                     a list of {"file": …, "labels": […]}, or an object of file to list
    labels.jsonl, metadata.jsonl    such an object on each line, as Hugging Face's image folders have them

A table speaks of the files in its folder and below it. A row names its file by the path from there, or by the file's
name alone, with or without its extension, if only one file has it. A column `split` says what a picture is used for;
without it the folders of splits above the pictures do, if there are several.
"""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from posixpath import basename, dirname, splitext
from typing import Any, NamedTuple

from shared.domain.archive_layout import ExamplePath, split_of
from shared.domain.datasets import MOST_OF_ONE, Split, check_name, file_name, join_labels
from shared.domain.pictures import show_bytes
from shared.domain.sizes import exactly
from shared.errors import BadDataset, BadOption

TABLES = ("labels.csv", "labels.json", "labels.jsonl", "metadata.csv", "metadata.jsonl")
"""The names that a table may have."""
MOST_TABLES = 20
"""Files of one archive that are named like a table: all of them are in memory at once."""
MAX_BYTES = 32 * 1024 * 1024
"""Bytes of all tables of an archive together; a hundred thousand rows of 200 bytes are 20 MB."""
MOST_ROWS = 1_000_000
"""Rows of all tables of an archive together; a hundred thousand pictures may have ten rows each."""

_FILE = ("file", "file_name", "filename", "image", "image_name", "image_id", "path", "id")
_LABELS = ("labels", "label", "tags")
_SPLIT = "split"
"""The headings of the columns, in lower case."""
_SEPARATORS = ("|", ";")
"""What stands between the labels in a cell: the first of these that any cell of the table has."""
_FLAGS = {"0": False, "1": True, "0.0": False, "1.0": True, "": False, "false": False, "true": True}
"""The cells of a column per label, in lower case."""
_SHOWN = 60
"""Characters of a value that a reason repeats."""
_NAMED = 3
"""The most tables that a reason names."""


class Row(NamedTuple):
    """One row of a table."""

    where: str
    """Such as `line 3`."""
    file: str
    labels: tuple[str, ...]
    """In the order of the row, each once."""
    split: str = ""
    """The name of a split; empty if the row names none."""
    fault: str = ""
    """Why the row is not used, as a phrase that follows its place; empty if it is."""


@dataclass(frozen=True)
class TableLayout:
    """What the tables of an archive say of its files."""

    places: list[ExamplePath | str | None]
    """For each path its labels, the reason why it is not used, or None for a table."""
    faults: list[tuple[str, str]] = field(default_factory=list)
    """(table and row, reason) of each row that names no picture."""

    @property
    def odd(self) -> tuple[str, int] | None:
        """(file, number of its labels) of the first picture that has not exactly one label; None if all have one."""
        numbers = ((place.name, len(place.labels)) for place in self.places if isinstance(place, ExamplePath))
        return next(((name, number) for name, number in numbers if number != 1), None)


def is_table(path: str) -> bool:
    """Return True if the file may be a table, by its name."""
    return basename(path).lower() in TABLES


def find(paths: Sequence[str]) -> list[str]:
    """Return the files that `is_table` names; raises BadDataset for more than MOST_TABLES."""
    found = [path for path in paths if is_table(path)]
    if len(found) > MOST_TABLES:
        raise BadDataset(
            f"The archive has {len(found)} files that are named like a table of labels: {_listed(found)}. It may have "
            f"{MOST_TABLES}. Join them into one table, or rename those that are none."
        )
    return found


def resolve(paths: Sequence[str], tables: Mapping[str, bytes]) -> TableLayout | dict[str, str]:
    """Return what the tables say of the files of an archive, or, if none of them is a table, path -> why not, as a
    phrase that follows the path.

    `paths` are all files of the archive, `tables` the bytes of those that `find` returns. Raises BadDataset for tables
    of more than MAX_BYTES or MOST_ROWS together, or if they name no file of the archive.
    """
    if sum(map(len, tables.values())) > MAX_BYTES:
        raise BadDataset(_too_much(list(tables), exactly(MAX_BYTES)))
    rows: dict[str, list[Row]] = {}
    reasons: dict[str, str] = {}
    for path, data in tables.items():
        parsed = parse(path, data)
        if isinstance(parsed, str):
            reasons[path] = parsed
            continue
        rows[path] = parsed
        if sum(map(len, rows.values())) > MOST_ROWS:
            raise BadDataset(_too_much(list(rows), f"{MOST_ROWS:,} rows"))
    if not rows:
        return reasons
    layout = _Layout(paths, rows).resolve(reasons)
    _check(layout, rows)
    return layout


def parse(path: str, data: bytes) -> list[Row] | str:
    """Return the rows of a table, at most one more than MOST_ROWS, or why the file is none, as a phrase that follows
    its path."""
    try:
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError as error:
        return f"is not UTF-8 at line {data[: error.start].count(10) + 1}; save it as UTF-8"
    try:
        return _rows(splitext(path.lower())[1], text)
    except (ValueError, RecursionError) as error:
        return f"is not valid JSON: {error}"


def _rows(kind: str, text: str) -> list[Row] | str:
    """Return what `parse` does."""
    if kind == ".csv":
        return _from_csv(text)
    return _from_json(json.loads(text)) if kind == ".json" else _from_lines(text)


# the formats


def _from_csv(text: str) -> list[Row] | str:
    heading = text.lstrip("\r\n").partition("\n")[0]
    separator = max(",;\t", key=heading.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)
    try:
        rows = islice((cells for cells in reader if any(cells)), MOST_ROWS + 2)
        lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in rows]
    except csv.Error as error:
        return f"is no CSV at line {reader.line_num}: {error}"
    if not lines:
        return "is empty; it needs a heading such as `file,labels`"
    names = [name.lower() for name in lines[0][1]]
    file_at = _column(names, _FILE)
    labels_at = _column(names, _LABELS)
    split_at = _column(names, (_SPLIT,))
    flags_at = [at for at in range(len(names)) if at not in (file_at, split_at)]
    if file_at is None:
        return f"is no table of labels: its heading has no column {' or '.join(_FILE[:2])}"
    if labels_at is None and not flags_at:
        return f"is no table of labels: its heading has neither a column {_LABELS[0]} nor one for each label"
    body = lines[1:]
    found = []
    cells_of = (cells[labels_at] for _, cells in body if labels_at is not None and len(cells) > labels_at)
    between = _between(cells_of, separator)
    for line, cells in body:
        where = f"line {line}"
        if len(cells) != len(names):
            fault = f"has {len(cells)} columns, and the heading has {len(names)}"
            found.append(Row(where, cells[file_at] if len(cells) > file_at else "", (), fault=fault))
            continue
        split = cells[split_at] if split_at is not None else ""
        if labels_at is not None:
            labels, fault = _labels(cells[labels_at].split(between) if between else [cells[labels_at]])
        else:
            if (odd := next((at for at in flags_at if cells[at].lower() not in _FLAGS), None)) is not None:
                return (
                    f"is no table of labels: it has no column {_LABELS[0]}, and {where} has {cells[odd][:_SHOWN]!r} in "
                    f"the column {lines[0][1][odd]!r}, which is neither 0 nor 1"
                )
            labels, fault = _labels([lines[0][1][at] for at in flags_at if _FLAGS[cells[at].lower()]])
        found.append(Row(where, cells[file_at], labels, split, fault))
    return found


def _column(names: Sequence[str], known: Sequence[str]) -> int | None:
    return next((names.index(name) for name in known if name in names), None)


def _between(cells: Iterator[str], separator: str) -> str:
    """Return what stands between the labels of these cells; empty if each is one label."""
    text = "\n".join(cells)
    return next((mark for mark in _SEPARATORS if mark in text and mark != separator), "")


def _from_json(value: object) -> list[Row] | str:
    if isinstance(value, dict):
        # A list of the labels of a model, as {"0": "cat"}, has the same name and lies beside label folders.
        if not any("." in file or isinstance(labels, list) for file, labels in value.items()):
            return "is no table of labels: its keys are no files"
        value = [{_FILE[0]: file, _LABELS[0]: labels} for file, labels in value.items()]
    if not isinstance(value, list):
        return "is no table of labels: it is neither a list of objects, nor an object of file to labels"
    return _from_objects((f"entry {number}", entry) for number, entry in enumerate(value, 1))


def _from_lines(text: str) -> list[Row] | str:
    lines = ((f"line {number}", line) for number, line in enumerate(text.splitlines(), 1) if line.strip())
    return _from_objects((where, json.loads(line)) for where, line in lines)


def _from_objects(entries: Iterator[tuple[str, object]]) -> list[Row] | str:
    found: list[Row] = []
    for where, entry in entries:
        if len(found) > MOST_ROWS:
            break
        if not isinstance(entry, dict):
            return f"is no table of labels: {where} is no object"
        file = next((entry[name] for name in _FILE if name in entry), None)
        if not isinstance(file, str):
            return f"is no table of labels: {where} has no text `{_FILE[0]}` or `{_FILE[1]}`"
        key = next((name for name in _LABELS if name in entry), None)
        if key is None:
            return f"is no table of labels: {where} has no `{_LABELS[0]}`"
        labels, fault = _labels_of(entry[key])
        split = entry.get(_SPLIT) or ""
        found.append(Row(where, file, labels, split if isinstance(split, str) else str(split), fault))
    return found or "is empty; it needs an entry for each picture"


def _labels_of(value: Any) -> tuple[tuple[str, ...], str]:
    """Return the labels of an entry, and what is wrong with them: a list, one text or number, or null for none."""
    values = [] if value is None else value if isinstance(value, list) else [value]
    if not all(isinstance(each, str | int) and not isinstance(each, bool) for each in values):
        return (), "has labels that are neither texts nor whole numbers"
    return _labels([str(each) for each in values])


def _labels(texts: Sequence[str]) -> tuple[tuple[str, ...], str]:
    """Return the labels of a row in their stored form, and what is wrong with them."""
    if len(texts) > MOST_OF_ONE:
        return (), f"has {len(texts)} labels; a picture may have {MOST_OF_ONE}"
    try:
        labels = tuple(dict.fromkeys(check_name(text, "label") for text in texts if text.strip()))
    except BadOption as error:
        return (), f"has a text that is no label: {error.message}"
    return labels, ""


# the files


class _Layout:
    """Finds the file of each row."""

    def __init__(self, paths: Sequence[str], rows: Mapping[str, Sequence[Row]]) -> None:
        self._paths = paths
        self._rows = rows
        self._taken: dict[str, tuple[str, Row]] = {}
        self._reasons: dict[str, str] = {}
        self._faults: list[tuple[str, str]] = []

    def resolve(self, reasons: Mapping[str, str]) -> TableLayout:
        """Return the layout; `reasons` are those of files that are named like a table and are none."""
        others = [path for path in self._paths if not is_table(path)]
        files = {folder: _Files(folder, others) for folder in {dirname(table) for table in self._rows}}
        for table, rows in self._rows.items():
            for row in rows:
                self._take(table, row, files[dirname(table)])
        declared = self._splits()
        unlisted = f"is not in {_listed(list(self._rows))}; add a row for it, with no label if it shows none of them"
        places = [
            self._place(path, declared, unlisted) if not is_table(path) else reasons.get(path) for path in self._paths
        ]
        return TableLayout(places, self._faults)

    def _take(self, table: str, row: Row, files: _Files) -> None:
        at = f"{show_bytes(table)}, {row.where}"
        path = files.find(row.file)
        fault = row.fault or ("" if not row.split or split_of(row.split) else _no_split(row.split))
        if fault or not isinstance(path, str):
            self._faults.append((at, fault or _not_found(row.file, path)))
            if isinstance(path, str):
                self._reasons.setdefault(path, f"has an unusable row: {at} {fault}")
            return
        if path not in self._taken:
            self._taken[path] = at, row
            return
        first_at, first = self._taken[path]
        if set(first.labels) != set(row.labels):
            self._reasons[path] = (
                f"is {join_labels(first.labels)!r} in {first_at}, and {join_labels(row.labels)!r} in {at}; decide for "
                "the labels of one row"
            )

    def _splits(self) -> dict[str, Split]:
        """Return path -> split by the folders above the pictures, if all lie below such folders, of several splits."""
        found = {}
        for path in self._taken:
            split = next((split for part in dirname(path).split("/") if (split := split_of(part))), None)
            if split is None:
                return {}
            found[path] = split
        return found if len(set(found.values())) > 1 else {}

    def _place(self, path: str, declared: Mapping[str, Split], unlisted: str) -> ExamplePath | str:
        """Return the place of a file, or why it has none: `unlisted` if no row names it."""
        if path in self._reasons:
            return self._reasons[path]
        if path not in self._taken:
            return unlisted
        _, row = self._taken[path]
        split = split_of(row.split) if row.split else declared.get(path)
        return ExamplePath(row.labels, split or Split.OPEN, file_name(basename(path)))


class _Files:
    """The files below a folder, by their paths from there, their names, and these without extension."""

    def __init__(self, folder: str, paths: Sequence[str]) -> None:
        prefix = f"{folder}/" if folder else ""
        self._by_path: dict[str, str] = {}
        self._by_name: dict[str, list[str]] = defaultdict(list)
        self._by_stem: dict[str, list[str]] = defaultdict(list)
        for path in paths:
            if path.startswith(prefix):
                inner = _normal(path[len(prefix) :])
                self._by_path[inner] = path
                self._by_name[basename(inner)].append(path)
                self._by_stem[splitext(basename(inner))[0]].append(path)

    def find(self, named: str) -> str | int:
        """Return the path of the file that a row names, or the number of files that it may mean."""
        wanted = _normal(named)
        if wanted in self._by_path:
            return self._by_path[wanted]
        if "/" in wanted:
            return 0
        several = self._by_name.get(wanted) or self._by_stem.get(wanted) or []
        return several[0] if len(several) == 1 else len(several)


def _normal(path: str) -> str:
    return unicodedata.normalize("NFC", path.strip().replace("\\", "/")).removeprefix("./")


def _listed(tables: Sequence[str]) -> str:
    shown = [repr(show_bytes(table)) for table in tables[:_NAMED]]
    more = len(tables) - len(shown)
    return " and ".join(shown) if not more else f"{', '.join(shown)} and {more} more"


def _too_much(tables: Sequence[str], most: str) -> str:
    verb = "has" if len(tables) == 1 else "together have"
    return f"{_listed(tables)} {verb} more than {most}. Split the archive into several."


def _not_found(file: str, count: int | str) -> str:
    shown = show_bytes(file)[:_SHOWN]
    if not shown:
        return "names no file"
    if not count:
        return f"names {shown!r}, which is not in the archive"
    return f"names {shown!r}, and {count} files have that name; name its folder too"


def _no_split(name: str) -> str:
    return f"has the split {name[:_SHOWN]!r}; name training, validation or test"


def _check(layout: TableLayout, rows: Mapping[str, Sequence[Row]]) -> None:
    """Raise BadDataset if no picture has a place."""
    if not any(isinstance(place, ExamplePath) for place in layout.places):
        table = next(iter(rows))
        first = f": {layout.faults[0][0]} {layout.faults[0][1]}" if layout.faults else ""
        raise BadDataset(f"No row of {show_bytes(table)!r} can be used{first}. Name each picture of the archive in it.")
