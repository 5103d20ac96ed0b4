"""The TypeScript client: it is built, runs against small servers and a service, and its types are those of OpenAPI."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from clients.typescript import generate
from tests.npm_packages import TYPESCRIPT, run
from tests.page_runner import ROOT
from tests.stacks import SAMPLES, Stack


def passed(output: str) -> int:
    """Return how many tests of node:test have passed; none may have been skipped."""
    assert "# skipped 0" in output, output
    return int(re.findall(r"^# pass (\d+)$", output, re.MULTILINE)[0])


@pytest.mark.node
@pytest.mark.usefixtures("typescript")
def test_every_test_against_a_small_server_passes() -> None:
    assert passed(run("node", "--test", "test/client.test.mjs")) > 15


@pytest.mark.node
@pytest.mark.usefixtures("typescript")
def test_every_test_against_a_running_service_passes(stack: Stack) -> None:
    picture = str(SAMPLES / "digit_7.png")
    output = run("node", "--test", "test/service.test.mjs", INFERQ_URL=stack.url, INFERQ_KEY="", PICTURE=picture)
    assert passed(output) == 5


def test_the_types_are_those_of_the_service() -> None:
    assert generate.TYPES.read_text() == generate.types(), "run: python clients/typescript/generate.py"


@pytest.mark.parametrize(
    ("schema", "written"),
    [
        ({"type": ["string", "null"]}, "string | null"),
        ({"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "number"}]}}, "(string | number)[]"),
        ({"enum": ["a", 1]}, '"a" | 1'),
        ({"type": "object"}, "Record<string, unknown>"),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, "Record<string, number>"),
        ({"$ref": "#/components/schemas/Job"}, "Job"),
        ({}, "unknown"),
    ],
)
def test_a_schema_is_written_as_a_type(schema: Any, written: str) -> None:
    assert generate.type_of(schema) == written


def test_the_package_needs_nothing_at_run_time_and_names_no_registry() -> None:
    package = json.loads((TYPESCRIPT / "package.json").read_text())
    assert "dependencies" not in package
    tracked = run("git", "ls-files", "--others", "--exclude-standard", "--cached", TYPESCRIPT, folder=ROOT).split()
    assert "clients/typescript/src/client.ts" in tracked
    assert [path for path in tracked if "lock" in path or "dist" in path] == []
    imported = re.findall(r'from "([^"]+)"', "".join(path.read_text() for path in (TYPESCRIPT / "src").glob("*.ts")))
    assert imported
    assert all(module.startswith("./") for module in imported)
