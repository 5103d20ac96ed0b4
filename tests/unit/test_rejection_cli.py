"""The client and the commands of rejection rules, and answers that are not believed, against a small real server."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from inferq.client import Client
from shared.schemas.models import RejectionFit
from tests.unit.answers import complete, job, model, training, version
from tests.unit.toy_server import ToyServer

PATH = "/v1/models/birds/versions/2/rejection"
RULE = {"precision": 0.95, "min_score": 0.5, "max_distance": 1.1, "unknown_label": "unknown"}
WORDS = (
    "believes scores from 0.500 on of pictures within a distance of 1.100, for a precision of 0.95; otherwise "
    "'unknown' on wires without a word for doubt"
)


def fit(**fields: Any) -> dict[str, Any]:
    return complete(RejectionFit, **{"rejection": None, "fitting": False, "error": None} | fields)


def sent(server: ToyServer) -> list[dict[str, Any]]:
    return [json.loads(request.body) for request in server.requests if request.method in ("PUT", "POST")]


def test_a_rule_is_fitted_for_the_default_version_and_followed_until_it_is_there(
    server: ToyServer, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inferq.client.connection.EVERY", 0.0)
    server.on("GET /v1/models/birds", (200, {}, model(version("ready"), name="birds", default_version="2")))
    server.on(f"PUT {PATH}", (202, {}, fit(fitting=True)))
    server.on(f"GET {PATH}", (200, {}, fit(fitting=True)), (200, {}, fit(rejection=RULE)))
    words = ("--below-precision", "0.95", "--on", "birds", "--unknown-label", "unknown")
    result = run("models", "reject", "birds", *words)
    assert result.stdout == f"birds 2 {WORDS}\n"
    assert sent(server) == [{"precision": 0.95, "dataset": "birds", "unknown_label": "unknown"}]


def test_a_rule_without_a_lowest_score_says_so(server: ToyServer, run: Callable[..., Result]) -> None:
    server.on(f"PUT {PATH}", (200, {}, fit(rejection=RULE | {"min_score": 0.0})))
    result = run("models", "reject", "birds", "2", "--below-precision", "0.95", "--on", "birds")
    assert "believes every score of pictures within a distance of 1.100" in result.stdout


def test_a_rule_that_cannot_be_fitted_is_an_error_with_the_reason(
    server: ToyServer, run: Callable[..., Result]
) -> None:
    server.on(f"PUT {PATH}", (200, {}, fit(rejection=RULE, error="There are too few pictures.")))
    result = run("models", "reject", "birds", "2", "--below-precision", "0.95", "--on", "birds")
    assert result.exit_code == 1
    assert "birds 2 has no new rule: There are too few pictures." in result.stderr


def test_the_label_is_changed_alone_and_the_rule_removed(server: ToyServer, run: Callable[..., Result]) -> None:
    server.on(f"PUT {PATH}", (200, {}, fit(rejection=RULE | {"unknown_label": ""})))
    server.on(f"DELETE {PATH}", (204, {}, b""))
    assert "otherwise" not in run("models", "reject", "birds", "2", "--unknown-label", "").stdout
    assert sent(server) == [{"unknown_label": ""}]
    assert run("models", "reject", "birds", "2", "--off").stderr == "birds 2 believes all its answers\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "give --below-precision and --on, --unknown-label, or --off"),
        (("--on", "birds"), "belong together"),
        (("--below-precision", "0.9"), "belong together"),
        (("--off", "--unknown-label", "x"), "--off takes no other option"),
        (("--below-precision", "1.5", "--on", "birds"), "1.5"),
    ],
)
def test_options_that_make_no_rule_are_refused(
    server: ToyServer, run: Callable[..., Result], words: tuple[str, ...], says: str
) -> None:
    result = run("models", "reject", "birds", "2", *words)
    assert (result.exit_code, says in result.stderr) == (2, True)
    assert server.requests == []


def test_the_rule_of_a_version_is_read(server: ToyServer) -> None:
    server.on(f"GET {PATH}", (200, {}, fit(rejection=RULE)))
    with Client(server.url, "") as client:
        found = client.models.get_rejection("birds", "2").rejection
    assert found
    assert (found.precision, found.unknown_label) == (0.95, "unknown")


def test_an_import_sends_what_its_rule_needs(server: ToyServer, run: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "birds.onnx").write_bytes(b"x")
    server.on("POST /v1/models", (409, {}, {"detail": "It is refused.", "code": "conflict"}))
    words = ("--reject-below-precision", "0.95", "--on", "birds", "--unknown-label", "unknown")
    run("models", "import", "birds", "--weights", str(tmp_path / "birds.onnx"), *words)
    (request,) = server.requests
    for name, value in (("reject_below_precision", "0.95"), ("reject_on", "birds"), ("unknown_label", "unknown")):
        assert f'name="{name}"\r\n\r\n{value}\r\n'.encode() in request.body


def test_a_training_asks_for_a_rule(server: ToyServer, run: Callable[..., Result]) -> None:
    server.on("POST /v1/trainings", (202, {}, training("QUEUED")))
    words = ("--reject-below-precision", "0.95", "--unknown-label", "unknown", "--detach")
    run("train", "birds", "--name", "birds", *words)
    assert sent(server)[0]["parameters"] == {"reject_below_precision": 0.95, "unknown_label": "unknown"}


def test_an_answer_that_is_not_believed_says_so_below_its_labels(
    server: ToyServer, run: Callable[..., Result], tmp_path: Path
) -> None:
    (tmp_path / "cat.png").write_bytes(b"x")
    doubt = {"code": "unlike_training", "message": "The picture is unlike those."}
    answer = {"name": "cat.png", "results": [{"label": "rose", "score": 0.9}], "confident": False, "doubt": doubt}
    done = job("DONE", predictions=[answer])
    server.on("POST /v1/jobs", (202, {}, done))
    server.on(f"GET /v1/jobs/{done['_id']}", (200, {}, done))
    printed = run("classify", str(tmp_path / "cat.png")).stdout
    assert "rose" in printed
    assert "not believed: The picture is unlike those." in printed
    head = next(line for line in printed.splitlines() if "score" in line)
    assert head.index("score") - head.index("label") < 40, "the sentence does not widen the column of the labels"
