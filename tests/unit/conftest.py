"""Fixtures of the tests of the client and of the command: a small real HTTP server, and a run of the command."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from click.testing import CliRunner, Result

from inferq.cli import main
from inferq.client import connection
from tests.unit.toy_server import ToyServer, serving


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ToyServer]:
    """A server that answers as it is told; requests that it does not answer are repeated at once."""
    monkeypatch.setattr(connection, "PAUSE", 0.0)
    with serving() as running:
        yield running


@pytest.fixture
def run(server: ToyServer, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """A function that runs the command with these words, against the server."""
    monkeypatch.setenv("INFERQ_URL", server.url)
    return lambda *words: CliRunner().invoke(main, [str(word) for word in words])
