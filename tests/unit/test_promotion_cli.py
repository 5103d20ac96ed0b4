"""The commands for feedback, comparisons, promotions and canaries, against a small real HTTP server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from click.testing import Result

from inferq.client import connection
from shared.schemas.datasets import Example
from shared.schemas.promotions import Canary, Comparison
from tests.unit.answers import complete, version
from tests.unit.toy_server import Answer, ToyRequest, ToyServer, serving

REPORT: dict[str, Any] = {
    "pictures": 95,
    "left_out": 5,
    "agreement": 0.915,
    "candidate": {"version": "2", "accuracy": 0.933, "macro_f1": 0.93, "milliseconds": 12.3,
                  "per_label": [{"label": "rose", "f1": 0.9}, {"label": "tulip", "f1": 0.8}]},
    "baseline": {"version": "1", "accuracy": 0.905, "macro_f1": 0.93, "milliseconds": 12.1,
                 "per_label": [{"label": "rose", "f1": 0.94}]},
}  # fmt: skip


def comparison(status: str, **fields: Any) -> dict[str, Any]:
    """Return the comparison c1 of version 2 with version 1."""
    versions = {"name": "my flowers", "candidate": "2", "baseline": "1"}
    return complete(Comparison, **{"id": "c1", "status": status, "terminal": status != "QUEUED"} | versions | fields)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ToyServer]:
    monkeypatch.setattr(connection, "EVERY", 0.0)
    with serving() as running:
        yield running


def test_feedback_says_what_the_picture_is_now(server: ToyServer, run: Callable[..., Result]) -> None:
    server.on("POST /v1/jobs/j1/feedback", (201, {}, complete(Example, id=5, label={"name": "rose"})))
    result = run("feedback", "j1", "rose", "--position", 2)
    assert result.stderr == "picture 2 of job j1 is now an example of rose\n"
    assert json.loads(server.requests[0].body) == {"label": "rose", "position": 2}


def test_feedback_goes_to_the_dataset_that_is_named(server: ToyServer, run: Callable[..., Result]) -> None:
    server.on("POST /v1/jobs/j1/feedback", (201, {}, complete(Example, id=5, label={"name": "rose"})))
    assert run("feedback", "j1", "rose", "--dataset", "flowers").exit_code == 0
    assert json.loads(server.requests[0].body) == {"label": "rose", "position": 0, "dataset": "flowers"}


def test_two_versions_are_shown_side_by_side(server: ToyServer, run: Callable[..., Result]) -> None:
    ended = comparison("DONE", name="flowers", report=REPORT)
    server.on("POST /v1/models/flowers/compare", (202, {}, comparison("QUEUED")))
    server.on("GET /v1/comparisons/c1", (200, {}, ended))
    result = run("models", "compare", "flowers", "2")
    rows = [" ".join(line.split()) for line in result.stdout.splitlines()]
    for row in (
        "version 2 version 1 change",
        "flowers on 95 test pictures; the two agree on 91.5 %",
        "accuracy 93.3 % 90.5 % +2.8 ▲",
        "macro F1 0.930 0.930 +0.000 =",
        "ms a picture 12.3 12.1 +0.2",
        "F1 of rose 0.900 0.940 -0.040 ▼",
        "F1 of tulip 0.800 –",
    ):
        assert row in rows
    assert "inferq models promote" not in result.stderr, "an old report does not say what chance may explain"
    assert json.loads(run("models", "compare", "flowers", "2", "--with", "1", "--json").stdout) == ended


def compared(server: ToyServer, report: dict[str, Any], **fields: Any) -> None:
    """Let the server compare versions of `my flowers`, a name that a shell needs quoted, with this report."""
    server.on("POST /v1/models/my%20flowers/compare", (202, {}, comparison("QUEUED")))
    server.on("GET /v1/comparisons/c1", (200, {}, comparison("DONE", report=report, **fields)))


@pytest.mark.parametrize(
    ("verdict", "said"), [("better", "better by more"), ("worse", "worse by more"), ("open", "chance alone")]
)
def test_only_a_version_that_is_better_by_more_than_chance_is_proposed_for_promotion(
    server: ToyServer, run: Callable[..., Result], verdict: str, said: str
) -> None:
    compared(server, REPORT | {"verdict": verdict, "only_right": {"candidate": 9, "baseline": 2}})
    shown = run("models", "compare", "my flowers", "2")
    assert ("inferq models promote 'my flowers' 2" in shown.stderr) == (verdict == "better")
    assert said in shown.stdout
    assert "only version 2 is right on 9, only version 1 on 2" in shown.stdout


def test_a_comparison_says_what_makes_it_shaky(server: ToyServer, run: Callable[..., Result]) -> None:
    compared(server, REPORT | {"pictures": 12, "labels": {"candidate": 5, "baseline": 1000, "common": 3}})
    lines = run("models", "compare", "my flowers", "2").stdout.splitlines()
    assert "tested on 12 pictures: each of them is worth 8.3 points" in lines
    assert "the versions have different labels: 5 and 1000, 3 in common" in lines


def test_versions_that_were_removed_meanwhile_still_head_their_columns(
    server: ToyServer, run: Callable[..., Result]
) -> None:
    compared(server, REPORT, candidate=None, baseline=None)
    rows = [line.split() for line in run("models", "compare", "my flowers", "2").stdout.splitlines()]
    assert ["version", "2", "version", "1", "change"] in rows


def test_a_comparison_on_many_pictures_and_equal_labels_says_nothing_of_them(
    server: ToyServer, run: Callable[..., Result]
) -> None:
    compared(server, REPORT | {"labels": {"candidate": 5, "baseline": 5, "common": 5}})
    printed = run("models", "compare", "my flowers", "2").stdout
    assert "tested on" not in printed
    assert "different labels" not in printed


def test_a_comparison_that_fails_is_exit_1_with_the_reason(server: ToyServer, run: Callable[..., Result]) -> None:
    failed = comparison("FAILED", error="There is no test picture.")
    server.on("POST /v1/models/flowers/compare", (202, {}, failed))
    server.on("GET /v1/comparisons/c1", (200, {}, failed))
    result = run("models", "compare", "flowers", "2", "--dataset", "flowers")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.endswith("flowers 2 cannot be compared: There is no test picture.\n")


def test_a_promotion_says_how_to_undo_it(server: ToyServer, run: Callable[..., Result]) -> None:
    server.on("POST /v1/models/flowers/promote", (200, {}, version("ready", version="2")))
    server.on("POST /v1/models/flowers/rollback", (200, {}, version("ready", version="1")))
    hints = run("models", "promote", "flowers", "2").stderr
    assert hints == "flowers 2 is the default version; undo it with: inferq models rollback flowers\n"
    assert run("models", "rollback", "flowers").stderr == "flowers 1 is the default version again\n"


def test_a_promotion_without_a_comparison_is_refused_in_the_servers_words(
    server: ToyServer, run: Callable[..., Result]
) -> None:
    refused: Answer = (409, {}, {"code": "conflict", "detail": "Version 2 has not been compared."})
    server.on("POST /v1/models/flowers/promote", refused)
    result = run("models", "promote", "flowers", "2")
    assert (result.exit_code, result.stderr) == (1, "inferq: Version 2 has not been compared.\n")


def test_a_canary_is_set_looked_at_and_taken_away(server: ToyServer, run: Callable[..., Result]) -> None:
    def kept(request: ToyRequest) -> Answer:
        return 200, {}, complete(Canary, **json.loads(request.body))

    server.on("PUT /v1/models/flowers/canary", kept)
    server.on(
        "GET /v1/models/flowers/canary", (200, {}, complete(Canary, version="2", share=0.1, compared=95, agreed=88))
    )
    server.on("DELETE /v1/models/flowers/canary", (204, {}, b""))
    begun = "flowers 2 answers 10.0 % of the requests that name no version"
    assert run("models", "canary", "flowers", "2", "0.1").stdout == f"{begun}; no picture has been compared so far\n"
    shared = f"{begun}; it agreed with the default version on 88 of 95 pictures\n"
    assert run("models", "canary", "flowers").stdout == shared
    assert run("models", "canary", "flowers", "--off").stderr == "flowers has no canary now\n"
    assert [request.method for request in server.requests] == ["PUT", "GET", "DELETE"]


@pytest.mark.parametrize("words", ["2", "2 0", "2 1.5", "2 0.5 --off"])
def test_half_a_canary_is_refused_before_anything_is_sent(
    server: ToyServer, run: Callable[..., Result], words: str
) -> None:
    assert run("models", "canary", "flowers", *words.split()).exit_code == 2
    assert server.requests == []


def test_a_canary_without_a_share_is_answered_with_how_to_end_one(run: Callable[..., Result]) -> None:
    assert "to end a canary: --off" in run("models", "canary", "flowers", "2", "0").stderr
