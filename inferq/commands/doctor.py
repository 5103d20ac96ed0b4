"""`inferq doctor` checks what inferq needs on this machine, or examines a running service, and prints cures."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
from rich.table import Table
from rich.text import Text

from inferq import installed
from inferq.client import Client
from inferq.commands import console, options, service_check, units
from inferq.errors import CannotStart, InferqError
from inferq.stack import stack, valkey
from shared.schemas.diagnosis import PartCheck

ROOM = 2 * 1024**3
"""Bytes of free disk: weights of a few models, and a day of pictures."""
_TORCH = """
import torch, torchvision
cuda = torch.cuda.get_device_name() if torch.cuda.is_available() else "no CUDA device, models run on the CPU"
print(f"torch {torch.__version__}, torchvision {torchvision.__version__}, {cuda}")
"""
_SETTINGS = """
from shared.settings import from_environment
try:
    from_environment()
except ValueError as error:
    raise SystemExit(str(error))
"""


_SIGNS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "failed": ("✗", "red")}


class Missing(Exception):
    """A requirement is missing; the text says what to do."""


@click.command()
@options.DATA
@click.option("--host", envvar="INFERQ_HOST", default="127.0.0.1", help="Host on which `inferq up` would listen.")
@click.option("--port", envvar="INFERQ_PORT", default=8000, help="Port on which `inferq up` would listen.")
@click.option("--url", help="Examine the service at this address instead: queue, workers, storage, keys, webhooks, "
              "clocks, Redis, database, disk.")  # fmt: skip
@click.option("--key", envvar="INFERQ_KEY", default="", help="With --url: a key of the tenant `default` with the scope "
              "`keys`; any other key sees fewer parts.")  # fmt: skip
@click.option("--wait", is_flag=True, help="With --url: also hold a request as long as callers may wait, which a proxy "
              "between may cut. Takes a minute.")  # fmt: skip
def doctor(data: Path, host: str, port: int, url: str | None, key: str, wait: bool) -> None:
    """Check that this machine has all that inferq needs.

    Or, with --url, examine a running service. Prints what to do about each problem, and
    exits with 1 if there is one; warnings alone exit with 0.

    \b
      inferq doctor
      inferq doctor --url https://vision.example.com --wait
    """
    if url is None and wait:
        raise click.UsageError("--wait needs --url")
    all_well = _examine(url, key, wait=wait) if url else _check_machine(data, host, port)
    if not all_well:
        raise SystemExit(1)


def _examine(url: str, key: str, *, wait: bool) -> bool:
    """Print the checks of the service at this URL; return True if none has failed."""
    verdicts = []
    with Client(url, key) as client:
        for name, look in service_check.looks(client, wait=wait):
            with console.remarks.status(name):
                checks = look()
            for check in checks:
                _print(check)
                verdicts.append(check.verdict)
    return "failed" not in verdicts


def _print(check: PartCheck) -> None:
    sign, style = _SIGNS.get(check.verdict, _SIGNS["warning"])
    lines = [(Text(sign, style), f"{check.part:<15}", Text(check.found))]
    lines += [(Text(""), "", Text(f"→ {check.cure}", "bold"))] if check.cure else []
    for first, part, text in lines:
        if console.out.is_terminal:  # where long texts stay in their column
            row = Table.grid(padding=(0, 1, 0, 0))
            for width in (1, 15, None):
                row.add_column(width=width)
            row.add_row(first, part, text)
            console.out.print(row)
        else:
            console.out.print(Text(" ").join([first or Text(" "), Text(part or " " * 15), text]), soft_wrap=True)


def _check_machine(data: Path, host: str, port: int) -> bool:
    """Print whether each requirement is met on this machine; return True if all are."""
    if not installed.has_server():
        raise CannotStart(
            f"this machine has only the client; examine a service with --url, or {installed.HOW_TO_GET_IT}"
        )
    checks: dict[str, Callable[[], str]] = {
        "python": _python,
        "packages": _packages,
        "celery": _celery,
        "settings": _settings,
        "torch": _torch,
        "embedded redis": lambda: f"Valkey {valkey.version(valkey.binary())}",
        "redis": _redis,
        "data folder": lambda: _folder(data.expanduser().absolute()),
        "disk": lambda: _disk(data.expanduser().absolute()),
        "port": lambda: _port(host, port),
    }
    passed = [_report(name, check) for name, check in checks.items()]
    return all(passed)


def _report(name: str, check: Callable[[], str]) -> bool:
    verdict = "ok"
    with console.remarks.status(name):  # torch alone takes seconds to be imported
        try:
            text = check()
        except (Missing, InferqError) as problem:
            verdict, text = "failed", str(problem)
    _print(PartCheck(part=name, verdict=verdict, found=text))
    return verdict == "ok"


def _python() -> str:
    return f"{sys.version.split()[0]} at {sys.executable}, {stack.cores()} cores"


def _packages() -> str:
    if _installed("inferq") is None:
        raise Missing("inferq itself is not installed; run `make setup`")
    # Requirements of the client and of the server, without those of single platforms.
    markers = ("", 'extra == "server"')
    requirements = [
        line for line in importlib.metadata.requires("inferq") or () if line.partition(";")[2].strip() in markers
    ]
    names = [re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in requirements]
    absent = [name for name in names if _installed(name) is None]
    if absent:
        raise Missing(f"not installed: {', '.join(absent)}; run `make setup`")
    return f"all {len(names)} are installed"


def _celery() -> str:
    if _installed("celery-batches"):
        raise Missing("celery-batches is installed and holds Celery below 5.7; run `pip uninstall celery-batches`")
    installed = _installed("celery") or "none"
    if not installed.startswith("5.7."):
        raise Missing(f"Celery is {installed}; inferq needs 5.7")
    return f"{installed}, without celery-batches"


def _settings() -> str:
    # In a separate process, which has what the server needs; this one also runs where only the client is installed.
    completed = subprocess.run([sys.executable, "-c", _SETTINGS], capture_output=True, text=True, check=False)
    if completed.returncode != 0:
        lines = completed.stderr.strip().splitlines() or [f"exit {completed.returncode}"]
        raise Missing(lines[-1])
    return "the variables INFERQ_* can be used"


def _torch() -> str:
    # In a separate process: a torch that does not fit this machine can crash the process that imports it.
    completed = subprocess.run([sys.executable, "-c", _TORCH], capture_output=True, text=True, check=False)
    if completed.returncode != 0:
        lines = completed.stderr.strip().splitlines() or [f"exit {completed.returncode}"]
        raise Missing(f"torch cannot be imported: {lines[-1]}")
    return completed.stdout.strip()


def _redis() -> str:
    url = os.environ.get("REDIS_URL")
    if not url:
        return "REDIS_URL is not set; `inferq up` starts its own Redis"
    try:
        version = valkey.server_version(url)
        used, limit = valkey.memory(url)
    except OSError as error:
        raise Missing(f"the server at REDIS_URL does not answer: {error}") from error
    text = ".".join(map(str, version))
    if version < (6, 2):
        raise Missing(f"the server at REDIS_URL is {text}; inferq needs 6.2 or newer")
    if 0 < limit <= used:
        raise Missing(
            f"the server at REDIS_URL is full: it uses {units.size(used)} of {units.size(limit)}. It has room again "
            "when pictures have run; if it stays full, raise its maxmemory"
        )
    return f"the server at REDIS_URL is {text}"


def _folder(data: Path) -> str:
    existing = _nearest(data)
    if not (existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)):
        raise Missing(f"{data} cannot be written; choose another folder with --data")
    return f"{data}{'' if data.exists() else ' (will be created)'}"


def _disk(data: Path) -> str:
    free = shutil.disk_usage(_nearest(data)).free
    if free < ROOM:
        raise Missing(f"{free / 1024**3:.1f} GiB are free; weights and pictures need {ROOM / 1024**3:.0f}")
    return f"{free / 1024**3:.0f} GiB are free"


def _port(host: str, port: int) -> str:
    stack.check_port(host, port)
    return f"{port} on {host} is free"


def _nearest(path: Path) -> Path:
    """Return the path, or the nearest existing folder above it."""
    return path if path.exists() else _nearest(path.parent)


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
