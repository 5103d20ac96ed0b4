"""Every answer has the id of its request: the caller's if it is well-formed, else a new one."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

PATHS = ("/healthz", "/v1/models", "/v1/nothing", "/v2/vision/usage", "/models/digits", "/nowhere")


@pytest.mark.parametrize("path", PATHS)
def test_the_id_of_a_caller_comes_back_on_every_wire(client: FlaskClient, path: str) -> None:
    answer = client.get(path, headers={"X-Request-Id": "7f3a-order.7/b:c"})
    assert answer.headers.getlist("X-Request-Id") == ["7f3a-order.7/b:c"]


@pytest.mark.parametrize("text", ["", "two words", "a,b", "ä", "-a", "x" * 129, 'a"b', "a\tb"])
def test_another_id_is_chosen_for_one_that_is_not_well_formed(client: FlaskClient, text: str) -> None:
    ids = {client.get("/healthz", headers={"X-Request-Id": text}).headers["X-Request-Id"] for _ in range(2)}
    assert text not in ids
    assert [len(found) for found in ids] == [16, 16]


def test_an_id_of_a_load_balancer_is_taken_if_the_caller_has_none(client: FlaskClient) -> None:
    balancer = {"X-Amzn-Trace-Id": "Root=1-67891233-abcdef012345678912345678;Parent=53995c3f42cd8ad8"}
    assert client.get("/healthz", headers=balancer).headers["X-Request-Id"] == balancer["X-Amzn-Trace-Id"]
    both = client.get("/healthz", headers=balancer | {"X-Request-Id": "mine"})
    assert both.headers["X-Request-Id"] == "mine"


def test_a_refusal_is_logged_with_the_id_that_its_caller_has_got(
    client: FlaskClient, capsys: pytest.CaptureFixture[str]
) -> None:
    import logging
    import sys

    from shared import logs

    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logs.TextLines("api"))
    logger, level = logging.getLogger("api"), logging.getLogger("api").level
    logger.addHandler(handler)
    logger.setLevel("INFO")
    try:
        answer = client.get("/v1/jobs/nothing")
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    (line,) = capsys.readouterr().out.splitlines()
    assert "GET /v1/jobs/nothing refused: 404 not_found" in line
    assert line.endswith(f"  request={answer.headers['X-Request-Id']}")
