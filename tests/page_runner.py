"""Runs the commands that a page shows, one after the other, and compares what they print with the page."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HERE = "http://127.0.0.1:8000"
"""The address that pages show; it is replaced by that of the running stack."""


@dataclass(frozen=True)
class Step:
    """A command, and what the page shows below it; empty if it shows nothing."""

    command: str
    shown: str


@dataclass(frozen=True)
class Block:
    """A block of code of a page."""

    language: str
    code: str
    file: str
    """The name under which the page says that it is saved; empty if it says none."""


def blocks(page: str) -> list[Block]:
    """Return the blocks of code, in the order of the page."""
    found = re.findall(r"(?:as `([\w.]+)`[^\n]*:\n\n)?^```(\w+)\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    return [Block(language, code, file) for file, language, code in found]


def codes(page: str, language: str) -> list[str]:
    """Return the blocks of one language."""
    return [block.code for block in blocks(page) if block.language == language]


def steps(block: str) -> list[Step]:
    """Return the steps of a console block: lines that begin with `$ ` are commands, the others what they print."""
    joined = re.sub(r"\s*\\\n\s*", " ", block)
    parts = re.split(r"^\$ ", joined, flags=re.MULTILINE)
    assert not parts[0].strip(), f"a block begins with a command: {block}"
    return [Step(command.strip(), shown.strip()) for command, _, shown in (part.partition("\n") for part in parts[1:])]


def run(step: Step, folder: Path, url: str, instead: Mapping[str, str] | None = None) -> str:
    """Run the command in the folder, or the one that stands for it, and return what it prints.

    Variables that it sets are seen by the next step. Fails if the command does, or if it prints anything else.
    """
    command = (instead or {}).get(step.command, step.command).replace(HERE, url)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("INFERQ_")}
    environment |= {"INFERQ_URL": url, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "CURL_HOME": str(folder)}
    environment |= {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    (folder / ".curlrc").write_text("silent\nshow-error\n")  # as in a terminal: no meter
    script = f"set -ae -o pipefail; test ! -e .variables || . ./.variables\n{command}\nexport -p > .variables"
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, env=environment, text=True, timeout=200, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, f"$ {command}\n{done.stdout}"
    assert re.search(pattern(step.shown), done.stdout, re.DOTALL), f"$ {command}\n{done.stdout}\nis not\n{step.shown}"
    return done.stdout


def pattern(shown: str) -> str:
    """Return the regular expression that a page's output stands for.

    `…` is anything. Ids, fractions and numbers of several digits may be others, as they depend on the machine and the
    moment; bars and rules may be missing, as in a pipe. All words, and numbers of one digit, must be those of the page.
    """
    return _VARYING.sub(lambda found: _ANY[str(found.lastgroup)], re.escape(shown))


_VARYING = re.compile(
    r"(?P<anything>(?:\\?\s)*…(?:\\?\s)*)"
    r"|(?P<id>image_[0-9a-z]{24}|[0-9a-f]{8}(?:\\-[0-9a-f]{4}){3}\\-[0-9a-f]{12})"
    r"|(?P<bar>(?:\\?\s)*[━·─]+(?:\\?\s)*)|(?P<number>\d+\\\.\d+|\d{2,})|(?P<space>(?:\\?\s)+)"
)  # of a text that is escaped
_ANY = {
    "id": r"[0-9a-z_-]+",
    "bar": r"\s*[━·─]*\s*",
    "number": r"\d+(?:\.\d+)?(?:e-\d+)?",
    "space": r"\s+",
    "anything": r".*?",
}


def checkout(folder: Path) -> Path:
    """Make the folder look like a checkout in which `make setup` has run, and return it."""
    for name in ("Makefile", "pyproject.toml", "tests"):
        (folder / name).symlink_to(ROOT / name)
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


def printed_comments(code: str) -> list[str]:
    """Return what the comments behind calls of print or console.log say that these print."""
    return re.findall(r"^.*(?:print|log)\(.*(?:#|//) (.+)$", code, re.MULTILINE)


def run_code(code: str, folder: Path, url: str, command: tuple[str, ...], name: str) -> None:
    """Write the code into a file, run it by the command, and fail unless it prints what its comments say."""
    expected = printed_comments(code)
    assert expected, "the code says what it prints"
    (folder / name).write_text(code.replace(HERE, url))
    ours = {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HOME": str(folder), "HF_ENDPOINT": url, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, name], cwd=folder, env=os.environ | ours, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if line in expected] == expected


def run_python(code: str, folder: Path, url: str) -> None:
    """Run Python code of a page; fail unless it prints what its comments say."""
    run_code(code, folder, url, (sys.executable, "-W", "ignore"), "page.py")


def run_page(page: str, folder: Path, url: str, instead: Mapping[str, str] | None = None) -> int:
    """Run all console blocks and all Python of a page, in its order, and return the number of steps."""
    count = 0
    for block in blocks(page):
        if block.file:
            (folder / block.file).write_text(block.code.replace(HERE, url))
        elif block.language == "console":
            for step in steps(block.code):
                run(step, folder, url, instead)
                count += 1
        elif block.language == "python":
            run_python(block.code, folder, url)
            count += 1
    return count
