"""A light install: the client and the commands for a remote service load with the base dependencies only."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from inferq.cli import COMMANDS, SERVER

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
OURS = ("api", "worker", "shared", "inferq", "migrations", "bench")
REMOTE = (
    "classify", "jobs", "models", "datasets", "train", "trainings", "webhooks", "keys", "tenants", "feedback",
    "search", "status", "queue", "workers", "logs", "doctor", "completion",
)  # fmt: skip
LINE = "inferq: this command needs the server; in the checkout: pip install '.[server]'\n"

HIDE = """
import json, sys
from importlib.machinery import PathFinder

hidden = set(json.loads(sys.argv.pop(1)))


class Hiding(PathFinder):
    @classmethod
    def find_spec(cls, fullname, path=None, target=None):
        return None if fullname.partition(".")[0] in hidden else super().find_spec(fullname, path, target)


sys.meta_path[:] = [Hiding if finder is PathFinder else finder for finder in sys.meta_path]
"""
"""A program that hides the packages that its first argument names, as if they were not installed."""


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def brought(requirements: list[str], seen: set[str]) -> Iterator[str]:
    """Return the distributions that an install of these brings, with their own dependencies."""
    for requirement in map(Requirement, requirements):
        name = normal(requirement.name)
        if name not in seen and (requirement.marker is None or requirement.marker.evaluate({"extra": ""})):
            seen.add(name)
            yield name
            yield from brought(metadata.requires(name) or [], seen)


@pytest.fixture(scope="module")
def hidden() -> list[str]:
    """Return every importable package that the base dependencies do not bring."""
    base = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    light = set(brought(base, set()))
    return [
        package
        for package, distributions in metadata.packages_distributions().items()
        if package not in OURS and light.isdisjoint(map(normal, distributions))
    ]


def run(hidden: list[str], code: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", HIDE + code, json.dumps(hidden), *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def inferq(hidden: list[str], *words: str) -> subprocess.CompletedProcess[str]:
    return run(hidden, "from inferq.cli import main; main()", *words)


def test_all_that_makes_the_service_is_hidden(hidden: list[str]) -> None:
    assert {"torch", "torchvision", "flask", "celery", "redis", "sqlalchemy", "PIL", "numpy"} <= set(hidden)
    done = run(hidden, "import flask")
    assert "No module named 'flask'" in done.stderr


def test_the_client_and_every_command_load(hidden: list[str]) -> None:
    assert set(REMOTE) == set(COMMANDS) - set(SERVER) - {"samples"}
    code = """
import click, inferq.client, inferq.cli
from inferq.client import Client
context = click.Context(inferq.cli.main)
for name in inferq.cli.COMMANDS:
    assert inferq.cli.main.get_command(context, name).name == name
    print(name)
"""
    done = run(hidden, code)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == list(COMMANDS)


def test_a_command_for_a_server_elsewhere_runs(hidden: list[str]) -> None:
    done = inferq(hidden, "models", "list", "--url", "http://127.0.0.1:9")
    assert done.returncode == 1
    assert done.stderr.startswith("inferq: no server can be reached at http://127.0.0.1:9")


def test_the_doctor_examines_a_service_but_not_this_machine(hidden: list[str]) -> None:
    here, there = inferq(hidden, "doctor"), inferq(hidden, "doctor", "--url", "http://127.0.0.1:9")
    assert (here.returncode, here.stdout) == (2, "")
    assert "examine a service with --url" in here.stderr
    assert (there.returncode, there.stdout.startswith("✗ service")) == (1, True)


@pytest.mark.parametrize("command", SERVER)
def test_a_command_that_needs_the_server_says_how_to_get_it(hidden: list[str], command: str) -> None:
    done = inferq(hidden, command)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", LINE)


def test_its_help_can_be_read_all_the_same(hidden: list[str]) -> None:
    done = inferq(hidden, "up", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Start the whole service" in done.stdout
