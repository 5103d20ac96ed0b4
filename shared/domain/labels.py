"""Labels of a model in the order of its outputs, read from the files that people have."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from shared.domain.sizes import exactly
from shared.errors import BadOption

MAX_BYTES = 4 * 1024 * 1024
"""Bytes of a file of labels."""
MAX_LABELS = 100_000
"""Labels of one model; ImageNet-21k has 21,843. All of them are in each answer that shows the version."""
MAX_CHARS = 300
"""Characters of one label."""
_TWINS = {"crane", "maillot"}
"""Lists of ImageNet's thousand labels often have a bird and a machine called crane, and two garments called maillot."""
_IMAGENET = 1000
_SCRIPT = "\u200c\u200d\u3000"
"""Unprintable characters that labels need: joiners of Persian, Indian scripts and emoji, and the space of Japanese."""
_LABEL_COLUMNS = ("label", "name", "label_name", "class_name", "class")
_INDEX_COLUMNS = ("index", "idx", "id", "class_id", "label_id", "class_index", "number")
"""Headings of the columns of a table, in lower case, the best first."""
_MAX_DIGITS = 9
"""Digits of the number of an output; Python refuses to read numbers of thousands of digits."""


class _Row(NamedTuple):
    """A row of a table."""

    line: int
    cells: list[str]


def parse(data: bytes, name: str = "labels") -> tuple[str, ...]:
    """Read labels from a text of one per line, from JSON or from CSV; raises BadOption naming the line.

    JSON is a list, or an object of index to label or of label to index, also as `id2label` inside of another object.
    CSV has a column of numbers and a column of labels, in any order, with or without a heading; of more columns the
    heading says which one holds the labels. A text may begin with a byte order mark, and its lines may end with CR LF.
    """
    if len(data) > MAX_BYTES:
        raise BadOption(f"{name} has more than {exactly(MAX_BYTES)}; labels are a text of one per line, JSON or CSV")
    text = _decode(data, name).replace("\r\n", "\n").replace("\r", "\n")
    if text.lstrip()[:1] in ("{", "["):
        found = _from_json(text, name)
        where = "entry"
    else:
        found, where = _from_csv(text, name) or _from_lines(text), "line"
    if not found:
        raise BadOption(f"{name} has no labels; each output needs one")
    check(found, name, where)
    return tuple(found)


def check(labels: Sequence[str], name: str, where: str = "line", *, doubles: bool = False) -> None:
    """Raise BadOption naming the first label that is empty, too long or not printable, or for too many labels.

    A label that is there a second time is refused as well, unless `doubles` allows it.
    """
    if len(labels) > MAX_LABELS:
        raise BadOption(f"{name} has {len(labels)} labels; a model may have {MAX_LABELS}")
    first: dict[str, int] = {}
    for number, label in enumerate(labels, 1):
        at = f"{name}, {where} {number}: "
        if not label.strip():
            raise BadOption(f"{at}the label is empty; each output needs one")
        if len(label) > MAX_CHARS:
            raise BadOption(f"{at}the label has more than {MAX_CHARS} characters")
        hidden = next((each for each in label if not each.isprintable() and each not in _SCRIPT), "")
        if hidden:
            raise BadOption(f"{at}the label contains the unprintable character U+{ord(hidden):04X}")
        if label in first and not doubles and not (len(labels) == _IMAGENET and label in _TWINS):
            raise BadOption(f"{at}{label!r} is the label of {where} {first[label]} already; make them different")
        first.setdefault(label, number)


def _decode(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError as error:
        if any(byte < 32 and byte not in b"\t\n\v\f\r" for byte in data):  # pictures, archives, weights
            raise BadOption(f"{name} is no text; labels are a text of one per line, JSON or CSV") from None
        line = data[: error.start].count(b"\n") + 1
        raise BadOption(f"{name}, line {line}: it is not UTF-8; save the file as UTF-8") from None


def _from_lines(text: str) -> list[str]:
    lines = [line.strip() for line in text.split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return _without_numbers(lines)


def _without_numbers(lines: list[str]) -> list[str]:
    """Return lines such as `0 tench` or `1: tench` without their numbers, if these count them; else as they are."""
    found = [_NUMBERED_LINE.fullmatch(line) for line in lines]
    numbers = [int(match[1]) for match in found if match]
    counts = [list(range(start, start + len(lines))) for start in (0, 1)]
    return [match[2] for match in found if match] if len(lines) > 1 and numbers in counts else lines


_NUMBERED_LINE = re.compile(r"(\d{1,6})(?::\s*|\s+)(\S.*)")


def _from_csv(text: str, name: str) -> list[str] | None:
    """Return the labels of a table with a column of numbers, or None if it is no such table; raises BadOption."""
    rows = _rows(text)
    width = min((len(row.cells) for row in rows), default=0)
    heading = bool(rows) and all(_number(cell) is None for cell in rows[0].cells)
    body = rows[1:] if heading else rows
    numbered = [at for at in range(width) if body and all(_number(row.cells[at]) is not None for row in body)]
    if width < 2 or not numbered:
        return None
    names = [cell.lower() for cell in rows[0].cells] if heading else []
    faults = {at: _gap(body, at) for at in numbered}
    if all(faults.values()):
        raise BadOption(f"{name}, {faults[numbered[0]]}")
    index_at = _index_column([at for at in numbered if not faults[at]], body, names, name)
    label_at = _label_column(rows, index_at, names, name)
    by_index = {_number(row.cells[index_at]) or 0: row.cells[label_at] for row in body}
    return [by_index[index] for index in sorted(by_index)]


def _rows(text: str) -> list[_Row]:
    """Return the rows of a text whose lines all have the same separator; none if it is no table."""
    lines = [line for line in text.splitlines() if line.strip()]
    separator = next((mark for mark in ("\t", ";", ",") if lines and all(mark in line for line in lines)), "")
    if not separator:
        return []
    reader = csv.reader(io.StringIO(text), delimiter=separator, skipinitialspace=True)
    try:
        return [_Row(reader.line_num, [cell.strip() for cell in row]) for row in reader if row]
    except csv.Error:  # a huge field: read as lines, it is refused with its line
        return []


def _number(cell: str) -> int | None:
    return int(cell) if cell.isdecimal() and len(cell) <= _MAX_DIGITS else None


def _gap(body: Sequence[_Row], at: int) -> str:
    """Return what is wrong with a column of numbers as that of the outputs, or nothing."""
    numbers = [_number(row.cells[at]) or 0 for row in body]
    lowest = 1 if 0 not in numbers else 0
    wanted, seen = range(lowest, lowest + len(body)), set[int]()
    for row, number in zip(body, numbers, strict=True):
        if number not in wanted or number in seen:
            return (
                f"line {row.line}: the number is {number}{' again' if number in seen else ''}; the numbers of the "
                "labels must run from 0 or 1 without gaps"
            )
        seen.add(number)
    return ""


def _index_column(columns: Sequence[int], body: Sequence[_Row], names: Sequence[str], name: str) -> int:
    """Return the column that numbers the outputs; raises BadOption if it may be one of several that differ."""
    headed = [at for at in columns if names and names[at] in _INDEX_COLUMNS]
    if len(headed) == 1:
        return headed[0]
    first = columns[0]
    if any(row.cells[at] != row.cells[first] for at in columns for row in body):
        raise BadOption(
            f"{name}: several columns are numbers, and either may be that of the outputs; give one label per line"
        )
    return first


def _label_column(rows: Sequence[_Row], index_at: int, names: Sequence[str], name: str) -> int:
    """Return the column of labels: the other one of two, or the one that the heading names."""
    if all(len(row.cells) == 2 for row in rows):
        return 1 - index_at
    known = [names.index(heading) for heading in _LABEL_COLUMNS if heading in names]
    others = [at for at in known if at != index_at and at < min(len(row.cells) for row in rows)]
    if others and all(len(row.cells) == len(names) for row in rows):
        return others[0]
    odd = next(row for row in rows if len(row.cells) != 2)
    raise BadOption(
        f"{name}, line {odd.line}: there are {len(odd.cells)} columns, and two are wanted: the number of the output "
        "and its label. Name them index and label in a heading, and put a label with commas into quotes"
    )


def _from_json(text: str, name: str) -> list[str]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadOption(f"{name} is not valid JSON: {error}") from None
    if isinstance(value, dict):
        for key in ("id2label", "names", "labels", "label_names", "classes"):
            value = value[key] if isinstance(value, dict) and isinstance(value.get(key), (dict, list)) else value
    if isinstance(value, dict):
        value = _numbered(value, name)
    if not isinstance(value, list) or not all(isinstance(label, str) or _is_int(label) for label in value):
        raise BadOption(f"{name} must be a list of labels, or an object of index to label")
    return [str(label).strip() for label in value]


def _numbered(value: Mapping[str, object], name: str) -> list[object]:
    """Return the labels of `{"0": "tench", …}` or of `{"tench": 0, …}`, in the order of the numbers.

    Numbers without quotes are the indexes, also where the labels are digits: ImageFolder's class_to_idx of folders 0
    to 10 is `{"0": 0, "1": 1, "10": 2, …}`, in the order of its values. Where the keys count up instead, either may
    be meant: that is refused, because a wrong guess would exchange labels without a word.
    """
    keys = {_number(key): label[-1] if isinstance(label, list) and label else label for key, label in value.items()}
    by_key = _in_order(keys, len(value))
    by_value = None
    if all(_is_int(number) for number in value.values()):
        by_value = _in_order({number: key for key, number in value.items()}, len(value))
    if by_key and by_value and [str(label) for label in by_key] != by_value and list(value) != by_value:
        raise BadOption(f"{name}: both keys and values are numbers from 0; give a list of the labels")
    found = by_key if by_value is None else by_value
    if found is None:
        raise BadOption(f"{name}: the numbers of the labels must run from 0 to {len(value) - 1} without gaps")
    return found


def _in_order(by_index: Mapping[Any, object], count: int) -> list[object] | None:
    """Return the values of keys that are the numbers from 0 to `count` - 1, or None if they are not."""
    return [by_index[index] for index in range(count)] if by_index.keys() == set(range(count)) else None


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
