"""Fixtures of the tests of the client and of the command: a small real HTTP server, and a run of the command."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from click.testing import CliRunner, Result

from inferq.cli import main
from tests.unit.toy_server import ToyServer, serving


@pytest.fixture
def server() -> Iterator[ToyServer]:
    """A server that answers as it is told."""
    with serving() as running:
        yield running


@pytest.fixture
def run(server: ToyServer, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """A function that runs the command with these words, against the server."""
    monkeypatch.setenv("INFERQ_URL", server.url)
    return lambda *words: CliRunner().invoke(main, [str(word) for word in words])
