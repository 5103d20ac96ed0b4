"""Lines of logs are read, in text and in JSON, and those that tell the story of a job or a request are chosen."""

from __future__ import annotations

import calendar
import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

IDS = ("request", "tenant", "job", "jobs", "training", "delivery", "batch", "worker")
"""The ids of a line, as shared/logs.py writes them."""
_ID = rf"(?:{'|'.join(IDS)})=\S+"
_TEXT = re.compile(rf"(\S+)Z (\w+) +\S+\[\d+\] (.*?)(?:  ({_ID}(?: {_ID})*))?")
"""Time, level, message and ids; ids are only what stands behind all of the message, since callers write into those."""
_UTC = re.compile(r'(?:\{"time": ")?(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.(\d{3})Z')
_LOCAL = (
    (re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),(\d{3}) "), "%Y-%m-%d %H:%M:%S"),
    (re.compile(r"\d+:[A-Z] (\d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d)\.(\d{3}) "), "%d %b %Y %H:%M:%S"),
)
"""How the lines of earlier versions and of Valkey begin: a local time to the second, and milliseconds."""


@dataclass(frozen=True)
class Line:
    """A line of the service's log, taken apart."""

    time: str
    """In UTC, with milliseconds."""
    level: str
    message: str
    ids: Mapping[str, str] = field(default_factory=dict)
    exception: str = ""
    """The traceback, of a line of JSON; in text it is on the lines behind."""

    @property
    def at(self) -> float:
        """Its time in Unix seconds."""
        return moment(f"{self.time}Z") or 0.0

    @property
    def jobs(self) -> frozenset[str]:
        """The jobs that it names."""
        return frozenset(filter(None, (*self.ids.get("jobs", "").split(","), self.ids.get("job", ""))))


def read(text: str) -> Line | None:
    """Return a line of text or JSON taken apart; None for another line, as of a traceback or of Valkey."""
    if text.startswith("{"):
        return _read_json(text)
    if not (found := _TEXT.fullmatch(text)):
        return None
    at, level, message, ids = found.groups()
    return Line(at, level, message, dict(pair.split("=", 1) for pair in (ids or "").split()))


def _read_json(text: str) -> Line | None:
    try:
        about: dict[str, Any] = json.loads(text)
        at, level, message = about["time"].removesuffix("Z"), about["level"], about["message"]
    except (ValueError, KeyError, AttributeError):
        return None
    ids = {name: _joined(about[name]) for name in IDS if about.get(name)}
    return Line(at, level, message, ids, about.get("exception", ""))


def _joined(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def moment(text: str) -> float | None:
    """Return the time with which a line begins, in Unix seconds; None if it begins with none."""
    if found := _UTC.match(text):
        return calendar.timegm(time.strptime(found[1], "%Y-%m-%dT%H:%M:%S")) + int(found[2]) / 1000
    for pattern, form in _LOCAL:
        if found := pattern.match(text):
            return time.mktime(time.strptime(found[1], form)) + int(found[2]) / 1000
    return None


def story(logs: Mapping[str, Iterable[Path]], word: str) -> list[tuple[float, str, str]]:
    """Return (Unix seconds, part, line) of all lines that name a job, or a request and its jobs, in the order of time.

    A request's line that names no job, as one that was refused, is among those of its job. Raises OSError.
    """
    named = _containing(logs, {word})
    jobs, requests = {word}, {word}
    for _, _, text in named:
        line = read(text)
        if line and line.ids.get("request") == word:
            jobs |= line.jobs
        elif line and word in line.jobs and "request" in line.ids:
            requests.add(line.ids["request"])
    if jobs | requests != {word}:
        named = _containing(logs, jobs | requests)
    chosen = [(at, part, text) for at, part, text in named if _belongs(text, word, jobs, requests)]
    return sorted(chosen, key=lambda line: line[0])  # stable, as in logs.py


def _belongs(text: str, word: str, jobs: set[str], requests: set[str]) -> bool:
    """Return False for a line of another job: callers may give several requests the same id."""
    line = read(text.partition("\n")[0])
    if line is None or word in text:
        return True
    return bool(line.jobs & jobs) or (not line.jobs and line.ids.get("request") in requests)


def _containing(logs: Mapping[str, Iterable[Path]], words: set[str]) -> list[tuple[float, str, str]]:
    """Return (Unix seconds, part, line) of the lines with one of the words; the lines of a traceback go with theirs."""
    return [
        (moment(text) or 0.0, part, text)
        for part, files in logs.items()
        for file in files
        for text in _with_tails(file, words)
    ]


def _with_tails(file: Path, words: set[str]) -> Iterator[str]:
    """Yield the lines with one of the words, each with those behind it that begin with no time."""
    kept = ""
    with file.open(encoding="utf-8", errors="replace") as lines:
        for text in lines:
            has_word = any(word in text for word in words)
            if not has_word and not kept:
                continue  # nearly all of them
            if moment(text) is None and kept:
                kept += text
                continue
            if kept:
                yield kept.rstrip("\n")
            kept = text if has_word else ""
    if kept:
        yield kept.rstrip("\n")
