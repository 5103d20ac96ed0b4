"""The genuine npm clients and the TypeScript client, installed once for all tests that run them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import npm_packages

NPM = Path(__file__).parent / "npm"


@pytest.fixture(scope="session")
def npm() -> Path:
    """The folder with a script per client; their packages are installed into `node_modules` if they are missing."""
    npm_packages.install(NPM, "dependencies")
    return NPM


@pytest.fixture(scope="session")
def typescript() -> Path:
    """The folder of the TypeScript client, built."""
    return npm_packages.built_typescript()
