"""Log lines of all processes have one format, as text or JSON, and name the ids that they belong to.

    2026-11-26T19:02:03.123Z INFO    worker-1[812] claimed 3 pictures  jobs=0196…,0197… batch=5d41 worker=host-812-a1

A line gets its ids from `extra` of the call (`log.info("…", extra={"job": job.id})`), from `bound` around it, or from
`of_process`. Only FIELDS are written: what else a library hangs on a record may be secret.
"""

from __future__ import annotations

import json
import logging
import logging.config
import os
import re
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Any, TextIO

from shared.settings import Settings

IDS = ("request", "tenant", "job", "jobs", "training", "delivery", "batch", "worker")
"""Fields that lines of text show behind the message."""
FIELDS = (
    *IDS, "event", "wire", "model", "version", "pictures", "answered", "failed", "code", "closed", "attempt", "status",
    "ms", "decode_ms", "forward_ms",
)  # fmt: skip
"""Fields of lines of JSON, beside time, level, process, pid, logger and message. Text has the others in its message."""
OWN = ("api.", "worker", "shared.", "inferq.")
"""How the names of loggers of this project begin; lines of text name the others, which say less without."""
_QUIET = ("celery.worker.strategy", "celery.app.trace", "httpx")
"""Loggers of libraries with a line for each task or request; httpx writes whole URLs."""
_DETAILS = ("botocore", "aiobotocore", "boto3", "s3fs", "fsspec", "urllib3", "httpcore", "asyncio", "PIL", "matplotlib")
"""Loggers of libraries that write headers and signatures, or thousands of lines, at DEBUG."""

_bound: ContextVar[Mapping[str, object]] = ContextVar("inferq_log_fields", default={})  # noqa: B039 - never changed
_process: dict[str, object] = {}


def bind(**fields: object) -> None:
    """Add fields to all further lines of this context: of a request, which has a context of its own."""
    _bound.set({**_bound.get(), **fields})


@contextmanager
def bound(**fields: object) -> Iterator[None]:
    """Add fields to the lines of the block, in this thread."""
    token = _bound.set({**_bound.get(), **fields})
    try:
        yield
    finally:
        _bound.reset(token)


def of_process(**fields: object) -> None:
    """Add fields to all further lines of this process, such as the id of its worker."""
    _process.update(fields)


def named(settings: Settings, role: str) -> Settings:
    """Return the settings with the name of a process of this role, unless it has been given one."""
    return settings if settings.process_name else settings.changed(process_name=role)


def configure(settings: Settings) -> None:
    """Have this process write its log to stderr, warnings and exceptions that end a thread too."""
    logging.config.dictConfig(configuration(settings))
    logging.captureWarnings(True)
    # Nothing shows the thread or the place in the code, and to look for them costs as much as to write the line.
    logging.logThreads = logging.logMultiprocessing = logging.logProcesses = False
    logging._srcfile = None  # noqa: SLF001 - the way that the library documents
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread


def configuration(settings: Settings) -> dict[str, Any]:
    """Return the configuration of `logging.config.dictConfig`, which granian passes on to its processes."""
    kind = JsonLines if settings.log_format == "json" else TextLines
    loggers: dict[str, Any] = {name: {"level": "WARNING"} for name in _QUIET} | {
        name: {"level": "INFO"} for name in _DETAILS
    }
    # Granian's loggers have handlers of their own, which write to stdout in another format.
    loggers |= {name: {"level": settings.log_level, "handlers": [], "propagate": True} for name in _GRANIANS}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"lines": {"()": f"{__name__}.{kind.__name__}", "process": settings.process_name}},
        "handlers": {"lines": {"()": f"{__name__}.StderrLines", "formatter": "lines"}},
        "loggers": loggers,
        "root": {"level": settings.log_level, "handlers": ["lines"]},
    }


_GRANIANS = ("_granian", "granian.access")


def fields_of(record: logging.LogRecord, names: Sequence[str] = FIELDS) -> dict[str, object]:
    """Return those of the fields that a record has, its own before those that are bound."""
    own, given = record.__dict__, {**_process, **_bound.get()}
    return {name: own[name] if name in own else given[name] for name in names if name in own or name in given}


class StderrLines(logging.StreamHandler[TextIO]):
    """Writes lines to stderr, which passes each on by itself; to flush it as well would take two more locks."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line of a record."""
        try:
            self.stream.write(self.format(record) + self.terminator)
        except Exception:  # noqa: BLE001 - as the library does: no line is worth a request
            self.handleError(record)


class TextLines(logging.Formatter):
    """Lines for people: time, level, process, message and ids. A traceback follows, two columns further right, so that
    no text of a caller in it can pass for a line of the log."""

    def __init__(self, process: str) -> None:
        """`process` is its name, as `worker-1`."""
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, or the lines if there is a traceback."""
        fields = fields_of(record, IDS)
        source = "" if record.name.startswith(OWN) or record.name == "root" else f"{record.name}: "
        message = redacted(source + record.getMessage())
        if not message.isprintable():
            message = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in message)
        ids = "".join([f" {name}={_word(value)}" for name, value in fields.items()])
        line = f"{_time(record)} {record.levelname:<7} {self._process}[{os.getpid()}] {message}{ids and ' ' + ids}"
        if record.exc_info and (text := _traceback(record)):
            line += "".join(f"\n  {row}" for row in redacted(text).splitlines())
        return line


class JsonLines(logging.Formatter):
    """Lines of JSON, one object each."""

    def __init__(self, process: str) -> None:
        """`process` is its name, as `worker-1`."""
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        about: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname,
            "process": self._process,
            "pid": os.getpid(),
            "logger": record.name,
            "message": redacted(record.getMessage()),
            **fields_of(record),
        }
        if record.exc_info and (text := _traceback(record)):
            about["exception"] = redacted(text)
        return json.dumps(about, default=str)


def redacted(text: str) -> str:
    """Return the text without passwords, queries of URLs, which may be signatures, and keys of this service."""
    if "?" in text:
        text = _QUERY.sub(lambda found: "?…" if "=" in found[0] else found[0], text)
    if "://" in text:
        text = _PASSWORD.sub("…@", text)
    return _KEY.sub("…", text) if any(begin in text for begin in _KEYS) else text


_PASSWORD = re.compile(r"(?<=://)[^\s/@'\"]*@")
# It takes question marks by the run: one that looks for the `=` of each takes seconds for a path of thousands of them.
_QUERY = re.compile(r"(?<=\S)\?[^\s'\"<>)]+")
_KEY = re.compile(r"(?<=\biq_)[\w-]{40,}|(?<=\b(?:live|test)_)[\w-]{40,}|(?<=\bhf_)\w{20,}|(?<=\bwhsec_)[\w+/=-]{16,}")
_KEYS = ("iq_", "live_", "test_", "hf_", "whsec_")
"""Keys of this service, secrets of its webhooks, and tokens of a model hub."""

_second: tuple[int, str] = (0, "")


def _time(record: logging.LogRecord) -> str:
    """Return the time of a record in UTC, with milliseconds."""
    global _second  # noqa: PLW0603 - the text of a second is the same for all lines of it
    seconds = int(record.created)
    known, text = _second
    if known != seconds:
        text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
        _second = (seconds, text)
    return f"{text}.{int(record.msecs):03d}Z"


def _word(value: object) -> str:
    if isinstance(value, str):
        return value
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _traceback(record: logging.LogRecord) -> str:
    kind, error, where = record.exc_info or (None, None, None)
    return "".join(traceback.format_exception(kind, error, where)).rstrip("\n") if error else ""


def _log_uncaught(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, where)
    else:
        logging.getLogger(__name__).critical("an exception was not caught", exc_info=(kind, error, where))


def _log_uncaught_in_thread(about: threading.ExceptHookArgs) -> None:
    if about.exc_value:
        _log_uncaught(about.exc_type, about.exc_value, about.exc_traceback)
