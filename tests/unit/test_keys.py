"""Keys as rules: what counts as this machine, and what a caller may do."""

from __future__ import annotations

import pytest

from shared.domain.keys import SCOPES, Caller, is_loopback
from shared.errors import Forbidden


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1", "localhost", "LocalHost"])
def test_loopback_is_known_by_all_its_names(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    ["0.0.0.0", "::", "10.0.0.1", "::ffff:10.0.0.1", "192.168.1.27", "example.org", "", "localhost.org",
     "127.example.org", "127.0.0.1.example.org", "127.1", "127.0.0.1@example.org", "127.0.0.01"],
)  # fmt: skip
def test_everything_else_is_elsewhere(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize("scope", SCOPES)
def test_a_caller_may_do_what_its_key_says(scope: str) -> None:
    Caller("t", (scope,)).must(scope)
    for other in set(SCOPES) - {scope}:
        with pytest.raises(Forbidden, match=f"lacks the scope '{other}'; it has: {scope}"):
            Caller("t", (scope,)).must(other)


def test_a_key_without_scopes_may_do_nothing() -> None:
    with pytest.raises(Forbidden, match="it has: none"):
        Caller("t", ()).must("infer")
