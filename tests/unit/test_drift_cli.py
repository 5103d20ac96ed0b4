"""The client and the command of drift, against a small real server."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result

from inferq.client import Client
from shared.schemas.drift import Drift
from tests.unit.answers import complete, model, version
from tests.unit.toy_server import ToyServer

PATH = "/v1/models/birds/drift"
SAME = {"effect": 0.03, "p_value": 0.4, "drifted": False, "unknown": None}
FAR = {"effect": 0.62, "p_value": 1e-9, "drifted": True, "unknown": None}
FEW = {"effect": None, "p_value": None, "drifted": False, "unknown": "too_few_pictures"}
NONE = FEW | {"unknown": "not_measured"}
DAY = {"day": "2026-11-25", "pictures": 1204, "labels": SAME, "confidence": SAME, "distance": FAR}
RECENT = {**{name: value for name, value in DAY.items() if name != "day"}, "since": "2026-11-25"}
REFERENCE = {"source": "dataset", "dataset": "flowers", "pictures": 200, "measured_at": "2026-01-02T03:04:05Z"}


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def found(**fields: Any) -> dict[str, Any]:
    birds = {
        "name": "birds", "version": "2", "verdict": "unlike_pictures", "message": "They are unlike.",
        "advice": "Give NAME more.", "days": [DAY], "recent": RECENT, "reference": REFERENCE,
    }  # fmt: skip
    return complete(Drift, **birds | fields)


def test_each_day_is_a_row_of_80_columns_and_a_drift_is_marked(server: ToyServer, run: Callable[..., Result]) -> None:
    few = DAY | {"day": "2026-11-26", "pictures": 3, "labels": FEW, "confidence": FEW, "distance": NONE}
    server.on(f"GET {PATH}", (200, {}, found(days=[DAY, few], webhook="https://example.org/hook")))
    lines = run("models", "drift", "birds", "2", "--days", "7").stdout.splitlines()
    assert lines[0] == "birds 2 compared with the dataset flowers, 200 pictures"
    (row,) = [line for line in lines if line.strip().startswith("2026-11-25")]
    assert row.split() == ["2026-11-25", "1204", "0.03", "·····", "0.03", "·····", "0.62", "━━━··", "!"]
    (row,) = [line for line in lines if line.strip().startswith("2026-11-26")]
    assert row.split() == ["2026-11-26", "3", "too", "few", "too", "few", "–"]
    assert any(line.strip().startswith("since 2026-11-25") for line in lines)
    assert lines[-3:] == ["They are unlike.", "Give birds more.", "webhook https://example.org/hook"]
    assert max(map(len, lines)) <= 80
    assert server.requests[0].path == f"{PATH}?version=2&days=7"


def test_nothing_but_the_sentence_is_shown_before_there_is_anything(
    server: ToyServer, run: Callable[..., Result]
) -> None:
    server.on(f"GET {PATH}", (200, {}, found(days=[], recent=None, reference=None, message="Nothing yet.", advice="")))
    assert run("models", "drift", "birds").stdout == "birds 2\nNothing yet.\n"
    assert json.loads(run("models", "drift", "birds", "--json").stdout)["message"] == "Nothing yet."


def test_a_reference_is_followed_until_it_is_measured(
    server: ToyServer, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inferq.client.connection.EVERY", 0.0)
    path = "PUT /v1/models/birds/versions/2/drift-reference"
    server.on("GET /v1/models/birds", (200, {}, model(version("ready"), name="birds", default_version="2")))
    server.on(path, (202, {}, found(measuring=True)))
    server.on(f"GET {PATH}", (200, {}, found(measuring=True)), (200, {}, found()))
    assert (
        "birds 2 compared with the dataset flowers" in run("models", "drift", "birds", "--reference", "flowers").stdout
    )
    assert [json.loads(request.body) for request in server.requests if request.method == "PUT"] == [
        {"dataset": "flowers"}
    ]
    server.on(path, (200, {}, found(error="There are too few pictures.")))
    failed = run("models", "drift", "birds", "2", "--reference", "few")
    assert (failed.exit_code, failed.stderr) == (
        1,
        "inferq: birds 2 has no new reference: There are too few pictures.\n",
    )


def test_a_webhook_is_set_and_removed(server: ToyServer, run: Callable[..., Result]) -> None:
    server.on(f"GET {PATH}", (200, {}, found()))
    server.on("PUT /v1/models/birds/webhook", (200, {}, found()))
    server.on("DELETE /v1/models/birds/webhook", (204, {}, b""))
    run("models", "drift", "birds", "--webhook", "https://example.org/hook")
    run("models", "drift", "birds", "--webhook", "none")
    sent = [(request.method, request.body) for request in server.requests if request.method != "GET"]
    assert [method for method, _ in sent] == ["PUT", "DELETE"]
    assert json.loads(sent[0][1]) == {"url": "https://example.org/hook", "secret": ""}


def test_the_client_returns_the_drift_of_a_version(server: ToyServer) -> None:
    server.on(f"GET {PATH}", (200, {}, found()))
    with Client(server.url) as client:
        drift = client.models.get_drift("birds", "2", days=3)
    assert drift.days[0].distance.drifted
    assert server.requests[0].path == f"{PATH}?version=2&days=3"
