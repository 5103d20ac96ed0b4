"""What the tests with Node.js need: packages that a package.json names, and the TypeScript client, built."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.needed import CI, missing
from tests.page_runner import ROOT

TYPESCRIPT = ROOT / "clients" / "typescript"
TSC = TYPESCRIPT / "node_modules" / "typescript" / "bin" / "tsc"


def install(folder: Path, kind: str) -> None:
    """Install the packages that the package.json of a folder names, if they are missing; else the test is skipped."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("Node.js is not here")
    wanted = json.loads((folder / "package.json").read_text())[kind]
    if any(_installed(folder, name) != version for name, version in wanted.items()):
        # No lock file: it would name the registry of the machine that wrote it.
        command = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"]
        result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100, check=False)
        if result.returncode:
            assert not CI, result.stderr
            missing("the npm client, which could not be installed,")


def built_typescript() -> Path:
    """Build the TypeScript client, and return its folder."""
    install(TYPESCRIPT, "devDependencies")
    run("node", TSC)
    return TYPESCRIPT


def run(*command: object, folder: Path = TYPESCRIPT, **variables: str) -> str:
    """Run a command and return what it prints; fails with that if the command does."""
    done = subprocess.run(
        list(map(str, command)), cwd=folder, env=os.environ | variables, text=True, timeout=100, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


def _installed(folder: Path, name: str) -> str:
    about = folder / "node_modules" / name / "package.json"
    return str(json.loads(about.read_text())["version"]) if about.is_file() else ""
