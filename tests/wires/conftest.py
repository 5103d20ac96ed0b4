"""The genuine npm clients, installed once for all tests that run them."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import CI, missing

NPM = Path(__file__).parent / "npm"


@pytest.fixture(scope="session")
def npm() -> Path:
    """The folder with a script per client; their packages are installed into `node_modules` if they are missing."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("Node.js is not here")
    wanted = json.loads((NPM / "package.json").read_text())["dependencies"]
    if any(_installed(name) != version for name, version in wanted.items()):
        # No lock file: it would name the registry of the machine that wrote it.
        command = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"]
        result = subprocess.run(command, cwd=NPM, capture_output=True, text=True, timeout=100, check=False)
        if result.returncode:
            assert not CI, result.stderr
            missing("the npm client, which could not be installed,")
    return NPM


def _installed(name: str) -> str:
    about = NPM / "node_modules" / name / "package.json"
    return str(json.loads(about.read_text())["version"]) if about.is_file() else ""
