"""Lines of the log, as text and as JSON: what they hold, what they hide, and that no text of a caller forges one."""

from __future__ import annotations

import contextvars
import json
import logging
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inferq.stack import log_lines
from shared import logs

ROOT = Path(__file__).resolve().parents[2]
EACH_FORMAT = pytest.mark.parametrize("formatter", [logs.TextLines("worker-1"), logs.JsonLines("worker-1")])


def record(message: str, *args: object, name: str = "worker.consumer", level: str = "INFO", **about: Any) -> Any:
    made = logging.LogRecord(name, logging.getLevelName(level), "", 0, message, args, about.pop("exc_info", None))
    made.created, made.msecs = 1_767_323_045.25, 250.0
    made.__dict__.update(about)
    return made


def raised(text: str) -> Any:
    try:
        raise ValueError(text)
    except ValueError:
        return sys.exc_info()


def test_a_line_of_text_has_time_level_process_message_and_ids() -> None:
    line = logs.TextLines("worker-1").format(record("claimed %d pictures", 3, jobs=["a", "b"], batch="c", pictures=3))
    assert re.sub(r"\[\d+\]", "[1]", line) == (
        "2026-01-02T03:04:05.250Z INFO    worker-1[1] claimed 3 pictures  jobs=a,b batch=c"
    )


def test_a_line_of_json_has_all_fields_and_no_others() -> None:
    line = json.loads(logs.JsonLines("worker-1").format(record("claimed", jobs=["a"], pictures=3, password="no")))
    line.pop("pid")
    assert line == {
        "time": "2026-01-02T03:04:05.250Z", "level": "INFO", "process": "worker-1", "logger": "worker.consumer",
        "message": "claimed", "jobs": ["a"], "pictures": 3,
    }  # fmt: skip


@EACH_FORMAT
def test_the_command_reads_what_the_service_writes(formatter: logging.Formatter) -> None:
    text = formatter.format(record("all is  well", job="j", worker="w", exc_info=raised("why")))
    line = log_lines.read(text.partition("\n")[0])
    assert line
    assert (line.time, line.level, line.message, line.ids) == (
        "2026-01-02T03:04:05.250", "INFO", "all is  well", {"job": "j", "worker": "w"},
    )  # fmt: skip
    assert "ValueError: why" in (line.exception or text)
    assert log_lines.moment(text) == 1_767_323_045.25
    assert log_lines.IDS == logs.IDS


def test_ids_in_the_words_of_a_caller_are_no_ids_of_the_line() -> None:
    text = logs.TextLines("api").format(record("GET /a  job=other refused  job=third.", request="r"))
    line = log_lines.read(text)
    assert line
    assert line.ids == {"request": "r"}


@EACH_FORMAT
def test_no_text_of_a_caller_can_begin_a_line(formatter: logging.Formatter) -> None:
    forged = "\n2026-01-02T03:04:05.250Z INFO    api[1] forged\r\x1b[31m\u2028"
    text = formatter.format(record("a name: %s", forged, exc_info=raised(forged)))
    assert not any(line.startswith("2026") for line in text.split("\n")[1:])
    assert "\x1b" not in text.partition("\n")[0]


@EACH_FORMAT
@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("GET https://bucket.example/a.jpg?X-Amz-Signature=5ec4e7&b=1 failed", "5ec4e7"),
        ("link /v1/stored/7?expires=1&signature=5ec4e7", "5ec4e7"),
        ("redis://:5ec4e7@127.0.0.1:1/0 is away", "5ec4e7"),
        ("postgresql://user:5ec4e7@db/x", "5ec4e7"),
        (f"key iq_{'k' * 43}", "kkk"),
        (f"key live_{'k' * 43}", "kkk"),
        (f"secret whsec_{'k' * 32}=", "kkk"),
        (f"token hf_{'k' * 34}", "kkk"),
    ],
)
def test_a_secret_is_left_out_of_messages_and_of_tracebacks(
    formatter: logging.Formatter, text: str, hidden: str
) -> None:
    line = formatter.format(record("%s", text, exc_info=raised(text)))
    assert hidden not in line
    assert "…" in line or "\\u2026" in line


@pytest.mark.parametrize(
    "text",
    ["Is it there? Yes: a = b", "https://example.com/a/b?", "test_a_key_that_is_no_key is fine", "model iq_net"],
)
def test_words_that_look_a_little_like_secrets_stay(text: str) -> None:
    assert logs.redacted(text) == text


def test_a_path_of_question_marks_costs_no_more_than_its_length() -> None:
    text = f"GET /{'?' * 20_000} refused"
    began = time.process_time()
    assert logs.redacted(text) == text
    assert logs.redacted(f"{text} /{'?' * 20_000}a=5ec4e7") == f"{text} /?…"
    assert time.process_time() - began < 2.0


def test_fields_are_those_of_the_context_then_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_process", {"worker": "w", "batch": "old"})

    def in_a_context() -> None:
        logs.bind(request="r")
        with logs.bound(batch="b"):
            assert logs.fields_of(record("x")) == {"request": "r", "batch": "b", "worker": "w"}
            assert logs.fields_of(record("x", batch="own"))["batch"] == "own"
        assert logs.fields_of(record("x")) == {"request": "r", "batch": "old", "worker": "w"}

    contextvars.copy_context().run(in_a_context)
    assert logs.fields_of(record("x")) == {"batch": "old", "worker": "w"}


def test_a_line_of_a_library_names_it() -> None:
    line = logs.TextLines("api").format(record("started", name="_granian"))
    assert line.endswith("] _granian: started")


@pytest.mark.slow
@pytest.mark.parametrize("form", ["text", "json"])
def test_everything_that_a_process_logs_has_the_format(form: str) -> None:
    program = (
        "import logging, threading, warnings\n"
        "from granian.log import LogLevels, configure_logging\n"
        "from shared import logs\n"
        "from shared.settings import Settings\n"
        f"settings = Settings(log_format={form!r}, process_name='api')\n"
        "logs.configure(settings)\n"
        "configure_logging(LogLevels.info, logs.configuration(settings))\n"
        "logging.getLogger('_granian').info('from granian')\n"
        "logging.getLogger('httpx').info('hidden')\n"
        "warnings.warn('a warning')\n"
        "thread = threading.Thread(target=lambda: 1 / 0)\n"
        "thread.start()\n"
        "thread.join()\n"
        "1 / 0\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    lines = [line for line in done.stderr.splitlines() if not line.startswith("  ")]
    read: Callable[[str], log_lines.Line | None] = log_lines.read
    shown = [line.message if (line := read(text)) else text for text in lines]
    assert done.stdout == ""
    assert [words.removeprefix("_granian: ").split("\n")[0] for words in shown[:1]] == ["from granian"]
    assert "a warning" in shown[1]
    assert shown[2:] == ["an exception was not caught"] * 2
    assert done.stderr.count("ZeroDivisionError") == 2
