"""Labels of a model in the order of its outputs, read from the files that people have."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence

from shared.errors import BadOption

MAX_BYTES = 4 * 1024 * 1024
"""Bytes of a file of labels."""
MAX_CHARS = 300
"""Characters of one label."""
_TWINS = {"crane", "maillot"}
"""Lists of ImageNet's thousand labels often have a bird and a machine called crane, and two garments called maillot."""
_IMAGENET = 1000


def parse(data: bytes, name: str = "labels") -> tuple[str, ...]:
    """Read labels from a text of one per line, from JSON or from CSV; raises BadOption naming the line.

    JSON is a list, or an object of index to label, also as `id2label` inside of another object. CSV has a column of
    numbers and a column of labels, in any order, with or without a heading. A text may begin with a byte order mark,
    and its lines may end with CR LF.
    """
    if len(data) > MAX_BYTES:
        raise BadOption(f"{name} has more than {MAX_BYTES} bytes; labels are a text of one per line, JSON or CSV")
    try:
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise BadOption(f"{name}, line {line}: it is not UTF-8; save the file as UTF-8") from None
    if text.lstrip()[:1] in ("{", "["):
        found = _from_json(text, name)
        where = "entry"
    else:
        found, where = _from_csv(text) or _from_lines(text), "line"
    check(found, name, where)
    return tuple(found)


def check(labels: Sequence[str], name: str, where: str = "line") -> None:
    """Raise BadOption naming the first label that is empty, too long, not printable, or there a second time."""
    first: dict[str, int] = {}
    for number, label in enumerate(labels, 1):
        at = f"{name}, {where} {number}: "
        if not label.strip():
            raise BadOption(f"{at}the label is empty; each output needs one")
        if len(label) > MAX_CHARS:
            raise BadOption(f"{at}the label has more than {MAX_CHARS} characters")
        if any(ord(character) < 32 for character in label):
            raise BadOption(f"{at}the label contains a control character or NUL")
        if label in first and not (len(labels) == _IMAGENET and label in _TWINS):
            raise BadOption(f"{at}{label!r} is the label of {where} {first[label]} already; make them different")
        first.setdefault(label, number)


def _from_lines(text: str) -> list[str]:
    lines = [line.strip() for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _from_csv(text: str) -> list[str] | None:
    """Return the labels of a table with a column of indexes, or None if it is no such table."""
    lines = [line for line in text.splitlines() if line.strip()]
    separator = next((mark for mark in ("\t", ";", ",") if lines and all(mark in line for line in lines)), "")
    if not separator:
        return None
    rows = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text), delimiter=separator) if row]
    if any(len(row) < 2 for row in rows):
        return None
    for start in (0, 1):  # with a heading, or without
        for index_at, label_at in ((0, 1), (1, 0)):
            indexes = [row[index_at] for row in rows[start:]]
            if indexes and all(index.isdecimal() for index in indexes):
                by_index = {int(row[index_at]): row[label_at] for row in rows[start:]}
                lowest = min(by_index)
                if lowest in (0, 1) and sorted(by_index) == list(range(lowest, lowest + len(rows) - start)):
                    return [by_index[index] for index in sorted(by_index)]
    return None


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
    if not isinstance(value, list) or not all(isinstance(label, (str, int)) for label in value):
        raise BadOption(f"{name} must be a list of labels, or an object of index to label")
    return [str(label).strip() for label in value]


def _numbered(value: dict[str, object], name: str) -> list[object]:
    """Return the labels of `{"0": "tench", …}` or of `{"tench": 0, …}`, in the order of the numbers."""
    pairs = value.items()
    if not all(key.isdecimal() for key in value):
        pairs = {str(index): label for label, index in value.items()}.items()
    by_index = {int(key): label for key, label in pairs if str(key).isdecimal()}
    if len(by_index) != len(value) or sorted(by_index) != list(range(len(value))):
        raise BadOption(f"{name}: the numbers of the labels must run from 0 to {len(value) - 1} without gaps")
    return [by_index[index][-1] if isinstance(by_index[index], list) else by_index[index]  # type: ignore[index]
            for index in range(len(value))]  # fmt: skip
