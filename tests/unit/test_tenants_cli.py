"""The commands that show and set the limits of tenants, against a small real HTTP server."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result

from shared.schemas.tenant_limits import TenantLimits, TenantLimitsList
from tests.unit.answers import complete
from tests.unit.toy_server import ToyServer

PATH = "/v1/tenants/acme/limits"


def limits(**own: Any) -> dict[str, Any]:
    """Return the limits of the tenant acme, where the settings keep jobs for 7 days."""
    settings = {"keep_jobs": 604800.0, "max_queued": 200_000, "pictures_per_minute": None, "max_bytes": None}
    return complete(TenantLimits, tenant="acme", **dict.fromkeys(settings) | own, in_effect=settings | own)


def test_the_limits_in_effect_are_shown_with_where_they_come_from(
    server: ToyServer, run: Callable[..., Result]
) -> None:
    server.on(f"GET {PATH}", (200, {}, limits(keep_jobs=43200.0)))
    shown = run("tenants", "show", "acme").stdout
    assert all(words in shown for words in ("acme", "12h ", "200000 (setting)", "no limit"))


@pytest.mark.parametrize(
    ("time", "seconds"), [("30d", 2_592_000), ("12h", 43_200), ("1.5m", 90), ("45s", 45), ("7", 7)]
)
def test_limits_that_are_not_named_stay(
    server: ToyServer, run: Callable[..., Result], time: str, seconds: float
) -> None:
    server.on(f"GET {PATH}", (200, {}, limits(max_queued=5, keep_jobs=1.0)))
    server.on(f"PUT {PATH}", (200, {}, limits(max_queued=5, keep_jobs=float(seconds))))
    assert run("tenants", "set", "acme", "--keep-jobs", time).exit_code == 0
    assert json.loads(server.requests[-1].body) == {"keep_jobs": seconds, "max_queued": 5}


@pytest.mark.parametrize(("size", "bytes_"), [("20G", 20 * 1024**3), ("1.5m", 1_572_864), ("7", 7), ("0", 0)])
def test_the_bytes_that_may_be_kept_are_set_as_a_size(
    server: ToyServer, run: Callable[..., Result], size: str, bytes_: int
) -> None:
    server.on(f"GET {PATH}", (200, {}, limits(max_queued=5)))
    server.on(f"PUT {PATH}", (200, {}, limits(max_queued=5, max_bytes=bytes_)))
    assert run("tenants", "set", "acme", "--max-bytes", size).exit_code == 0
    assert json.loads(server.requests[-1].body) == {"max_queued": 5, "max_bytes": bytes_}


def test_the_bytes_that_are_kept_are_shown_beside_their_limit(server: ToyServer, run: Callable[..., Result]) -> None:
    server.on(f"GET {PATH}", (200, {}, limits(max_bytes=3 * 1024**3) | {"kept_bytes": 1_572_864}))
    shown = run("tenants", "show", "acme").stdout
    assert "1.5 MiB" in shown
    assert "3 GiB" in shown


def test_a_reset_leaves_only_what_is_named(server: ToyServer, run: Callable[..., Result]) -> None:
    server.on(f"PUT {PATH}", (200, {}, limits(pictures_per_minute=9)))
    assert run("tenants", "set", "acme", "--reset", "--pictures-per-minute", "9").exit_code == 0
    assert [json.loads(request.body) for request in server.requests] == [{"pictures_per_minute": 9}]


def test_what_is_no_time_is_refused_before_anything_is_sent(server: ToyServer, run: Callable[..., Result]) -> None:
    result = run("tenants", "set", "acme", "--keep-jobs", "soon")
    assert result.exit_code == 2
    assert "'soon' is no time such as 12h or 30d" in result.stderr
    assert server.requests == []


def test_tenants_with_limits_of_their_own_are_listed(server: ToyServer, run: Callable[..., Result]) -> None:
    found = complete(TenantLimitsList, tenants=[limits(max_queued=5)])
    server.on("GET /v1/tenants", (200, {}, found))
    assert "5" in run("tenants", "list").stdout
    assert json.loads(run("tenants", "list", "--json").stdout) == found["tenants"]
