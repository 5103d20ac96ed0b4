"""The rules by which the parts of a running service are judged, and what `inferq doctor --url` makes of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from click.testing import Result

from shared.domain import diagnosis
from shared.domain.diagnosis import DatabaseFacts, PartCheck, RedisFacts, Verdict
from shared.domain.history import Point
from shared.domain.webhooks import FailingReceiver
from shared.schemas.common import moment_at
from shared.schemas.diagnosis import Diagnosis
from shared.schemas.workers import Readiness
from tests.unit.answers import complete
from tests.unit.toy_server import Answer, ToyRequest, ToyServer

GIB = 1024**3
REDIS = RedisFacts("Valkey 9.1", "noeviction", GIB, 2 * GIB, is_persistent=True, seconds=0.001)
DATABASE = DatabaseFacts("PostgreSQL 17.2", seconds=0.001, slowest=0.0, ahead=0.0)

FULL = "It is not known which workers run: Redis has no memory left."
SHOP = FailingReceiver("anna", "https://shop.test", waiting=1, since=0.0, status=None)

GROWING = [Point(minute, 1, arrived=120, answered=90, waiting=waits) for minute, waits in enumerate((30, 60, 90))]


def verdicts(checks: list[PartCheck]) -> list[Verdict]:
    assert all(bool(check.cure) == (check.verdict is not Verdict.OK) for check in checks)
    return [check.verdict for check in checks]


@pytest.mark.parametrize(
    ("checks", "expected", "words"),
    [
        (diagnosis.judge_redis(REDIS), "ok", "Valkey 9.1, noeviction, uses 1 GiB of 2 GiB, answers in 1.0 ms"),
        (diagnosis.judge_redis(replace(REDIS, limit=0)), "ok", "uses 1 GiB, without a limit"),
        (diagnosis.judge_redis(replace(REDIS, policy="allkeys-lru")), "failed", "forgets accepted work"),
        (diagnosis.judge_redis(replace(REDIS, used=int(1.95 * GIB))), "warning", "it uses 1.9 GiB of 2 GiB"),
        (diagnosis.judge_redis(replace(REDIS, is_persistent=False)), "warning", "keeps nothing when it restarts"),
        (diagnosis.judge_redis(replace(REDIS, seconds=0.25)), "warning", "takes 250 ms"),
        (diagnosis.judge_database(DATABASE), "ok", "PostgreSQL 17.2, answers in 1.0 ms"),
        (diagnosis.judge_database(replace(DATABASE, slowest=61.0)), "warning", "running for 61 s"),
        (diagnosis.judge_database(replace(DATABASE, seconds=0.2)), "warning", "takes 200 ms"),
        (diagnosis.judge_database(replace(DATABASE, free=5 * GIB)), "ok", "answers in 1.0 ms"),
        (diagnosis.judge_database(replace(DATABASE, free=GIB)), "warning", "its disk has 1 GiB left"),
        (diagnosis.judge_clocks({"this API": 0.1, "the database": -1.9}), "ok", "this API and the database agree"),
        (
            diagnosis.judge_clocks({"this API": 0.1, "the database": -7.0}),
            "warning",
            "the database is 7 s behind Redis",
        ),
        (diagnosis.judge_clocks({"this API": 3.0}), "warning", "this API is 3 s ahead of Redis"),
        (diagnosis.judge_disk(5 * GIB), "ok", "has 5 GiB left"),
        (diagnosis.judge_disk(GIB), "warning", "has 1 GiB left"),
        (diagnosis.judge_disk(None), "ok", "no folder"),
        (diagnosis.judge_queue(0, 0, 0.0, []), "ok", "it is empty"),
        (diagnosis.judge_queue(5000, 4, 59.0, []), "ok", "5,000 pictures wait and 4 run, the oldest for 59 s"),
        (diagnosis.judge_queue(5000, 4, 61.0, []), "warning", "the oldest for 61 s"),
        (diagnosis.judge_queue(0, 4, 61.0, []), "ok", "0 pictures wait and 4 run"),
        (diagnosis.judge_queue(1, 1, 9.0, []), "ok", "1 picture waits and 1 runs, the oldest for 9 s"),
        (
            diagnosis.judge_storage(0.1, 1, "noon"),
            "failed",
            "lacks 1 blob that nobody removed, since noon; what needs it",
        ),
        (
            diagnosis.judge_storage(0.1, 2, "noon"),
            "failed",
            "lacks 2 blobs that nobody removed, since noon; what needs th",
        ),
        (diagnosis.judge_queue(90, 4, 1.0, GROWING), "warning", "to 90 pictures: 2.0 arrive in a second, and 1.5 are"),
        (diagnosis.judge_queue(90, 4, 1.0, [*GROWING, Point(3, 1)]), "ok", "90 pictures wait"),
        (diagnosis.judge_queue(90, 4, 1.0, [replace(point, waiting=50) for point in GROWING]), "ok", "90 pictures"),
        (diagnosis.judge_workers(["cpu", "cuda", "cpu"]), "ok", "2 on cpu, 1 on cuda"),
        (diagnosis.judge_workers(["cpu"], most=1), "ok", "1 on cpu"),
        (diagnosis.judge_workers([], refusal="No worker is running."), "failed", "none is running"),
        (
            diagnosis.judge_workers([], lost=[90.0, 40.2]),
            "failed",
            "2 workers fell silent without being stopped, the last 40 s",
        ),
        (diagnosis.judge_workers(["cpu"], lost=[90.0]), "ok", "1 on cpu"),
        (diagnosis.judge_workers(["cpu"], waits_for=["the disk is full."]), "failed", "1 of 1 waits: the disk is full"),
        (diagnosis.judge_workers(["cpu"], refusal="They wait.", silent=["w1"]), "failed", "They wait"),
        (diagnosis.judge_workers(["cpu"] * 3, silent=["w1", "w2"]), "warning", "w1 and w2 claimed none"),
        (diagnosis.judge_workers(["cpu"], most=3), "warning", "1 of 3 runs that ran in the last 10 minutes"),
        (diagnosis.judge_workers(["cpu"] * 2, most=3), "warning", "2 of 3 run that ran in the last 10 minutes"),
        (
            diagnosis.judge_workers([], refusal="It is not known.", unknown=FULL),
            "warning",
            "not known which workers run",
        ),
        (diagnosis.judge_workers(["cpu"], most=3, unknown=FULL), "warning", "not known which workers run"),
        (diagnosis.judge_workers(["cpu"], most=1, unknown=FULL), "ok", "1 on cpu"),
        (diagnosis.judge_maintenance(is_sampled=True), "ok", "samples the queue"),
        (diagnosis.judge_maintenance(is_sampled=False), "warning", "not sampled the queue for 3 minutes"),
        (diagnosis.judge_webhooks([], "", is_all=True), "ok", "no callback has to be sent again"),
        (
            diagnosis.judge_webhooks([SHOP], "noon", is_all=True),
            "warning",
            "1 callback of the tenant anna waits for https://shop.test, which has not answered since noon or longer",
        ),
        (
            diagnosis.judge_webhooks([replace(SHOP, waiting=1200, status=500), SHOP], "noon", is_all=False),
            "warning",
            "which has answered 500 since noon or longer; 1 more waits for 1 other receiver",
        ),
        (
            diagnosis.judge_webhooks([replace(SHOP, waiting=9), replace(SHOP, waiting=3), SHOP], "noon", is_all=True),
            "warning",
            "noon or longer; 4 more wait for 2 other receivers",
        ),
        (
            diagnosis.judge_webhooks([replace(SHOP, waiting=1200)], "noon", is_all=False),
            "warning",
            "at least 1,200 callbacks of the tenant anna wait for https://shop.test, which has not answered",
        ),
        (
            diagnosis.judge_webhooks([], "", is_all=False),
            "warning",
            "at least 1,000 callbacks wait, of which only so many were looked at; none of these has failed",
        ),
        (
            diagnosis.judge_webhooks([], "", given_up=["anna"], is_all=True),
            "warning",
            "1 callback of the last day was given up, of the tenant anna",
        ),
        (
            diagnosis.judge_webhooks([], "", given_up=["carl", *["anna"] * 98, "bert"], is_all=True),
            "warning",
            "at least 100 callbacks of the last day were given up, of the tenant anna and 2 others",
        ),
        (diagnosis.judge_dead_letters(0), "ok", "every picture"),
        (diagnosis.judge_dead_letters(1), "warning", "1 picture of this tenant's jobs of the last day got no answer"),
        (diagnosis.judge_dead_letters(100), "warning", "at least 100 pictures"),
    ],
)
def test_a_part_is_judged_by_what_it_tells(checks: list[PartCheck], expected: str, words: str) -> None:
    assert verdicts(checks) == [expected]
    assert words in checks[0].found


def test_what_a_full_redis_hides_has_the_cure_of_a_full_redis() -> None:
    (check,) = diagnosis.judge_workers([], unknown=FULL)
    assert "maxmemory" in check.cure
    assert "start" not in check.cure


def test_the_cure_of_callbacks_says_what_happens_by_itself_and_what_to_do() -> None:
    (check,) = diagnosis.judge_webhooks([SHOP], "noon", is_all=True)
    assert "By itself each callback is tried 7 times in all, in about an hour and three quarters" in check.cure
    for command in (
        "`inferq webhooks list`",
        "`inferq webhooks ping URL`",
        "`inferq webhooks resend ID`, or `--failed`",
    ):
        assert command in check.cure


def test_a_part_may_have_several_troubles() -> None:
    found = diagnosis.judge_redis(replace(REDIS, policy="volatile-ttl", is_persistent=False))
    assert verdicts(found) == [Verdict.FAILED, Verdict.WARNING]
    found = diagnosis.judge_webhooks([SHOP], "noon", given_up=["anna"], is_all=True)
    assert verdicts(found) == [Verdict.WARNING, Verdict.WARNING]


# the command

READY = complete(Readiness, status="ready", **dict.fromkeys(("database", "queue", "storage", "workers", "model"), "ok"))
POLICY = {"part": "redis", "verdict": "failed", "found": "its maxmemory-policy is allkeys-lru", "cure": "set it"}
EMPTY = {"part": "queue", "verdict": "ok", "found": "it is empty"}


def tells(*checks: dict[str, str], ahead: float = 0.0, max_wait: float = 60.0, tenants: str = "all") -> Answer:
    """Return a diagnosis by a service whose clock is ahead of ours."""
    now = moment_at(time.time() + ahead)
    return 200, {}, complete(Diagnosis, tenants=tenants, checks=[*checks], time=now, max_wait=max_wait)


def test_doctor_prints_each_check_with_its_cure(server: ToyServer, run: Callable[..., Result]) -> None:
    server.on("GET /readyz", (200, {}, READY))
    server.on("GET /v1/diagnosis", tells(POLICY, EMPTY))
    result = run("doctor", "--url", server.url)
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert result.exit_code == 1
    assert lines[0].startswith(f"✓ service {server.url} is ready, and answers in ")
    assert lines[1:] == [
        "✗ redis its maxmemory-policy is allkeys-lru", "→ set it", "✓ queue it is empty",
        "✓ clock here agrees with the service to 2 s",
    ]  # fmt: skip


def test_doctor_says_which_parts_a_key_of_another_tenant_is_not_told_of(
    server: ToyServer, run: Callable[..., Result]
) -> None:
    server.on("GET /readyz", (200, {}, READY))
    server.on("GET /v1/diagnosis", tells(EMPTY, tenants="own"))
    result = run("doctor", "--url", server.url)
    assert result.exit_code == 0
    assert "not of Redis, database, clocks and disk" in result.stdout
    assert "a key of the tenant `default`" in result.stdout


@pytest.mark.parametrize(("ahead", "words"), [(-80.0, "80 s ahead of"), (30.0, "30 s behind")])
def test_a_clock_that_is_wrong_here_is_a_warning(
    server: ToyServer, run: Callable[..., Result], ahead: float, words: str
) -> None:
    server.on("GET /readyz", (200, {}, READY))
    server.on("GET /v1/diagnosis", lambda _: tells(EMPTY, ahead=ahead))
    result = run("doctor", "--url", server.url)
    assert result.exit_code == 0
    assert any(line.startswith("! clock here") and words in line for line in result.stdout.splitlines())


@pytest.mark.parametrize(
    ("status", "words"),
    [(401, "a key of the tenant `default`"), (403, "with the scope `keys`"), (404, "an older version"),
     (500, "the logs of the API")],
)  # fmt: skip
def test_a_service_that_does_not_tell_of_its_parts_is_a_failure_with_what_to_do(
    server: ToyServer, run: Callable[..., Result], status: int, words: str
) -> None:
    server.on("GET /readyz", (503, {}, READY | {"status": "not ready", "workers": "No worker is running."}))
    server.on("GET /v1/diagnosis", (status, {}, {"code": "no", "detail": "No."}))
    result = run("doctor", "--url", server.url)
    assert result.exit_code == 1
    assert "it is not ready: No worker is running" in result.stdout
    assert words in result.stdout


def test_a_service_that_is_not_there_is_a_failure_and_nothing_more_is_asked(run: Callable[..., Result]) -> None:
    result = run("doctor", "--url", "http://127.0.0.1:9")
    assert result.exit_code == 1
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["✗", "→"]


@pytest.mark.parametrize(("cut", "code"), [(False, 0), (True, 1)])
def test_a_proxy_that_cuts_a_request_that_waits_is_found(
    server: ToyServer, run: Callable[..., Result], cut: bool, code: int
) -> None:
    def answer(request: ToyRequest) -> Answer:
        is_held = request.headers.get("prefer") == "wait=7"
        return (504, {}, b"<html>gateway time-out</html>") if is_held and cut else tells(EMPTY, max_wait=7.0)

    server.on("GET /readyz", (200, {}, READY))
    server.on("GET /v1/diagnosis", answer)
    result = run("doctor", "--url", server.url, "--wait")
    assert result.exit_code == code
    assert ("raise the time-out of the proxy above 7 s" in result.stdout) == cut
    assert ("a request can wait for 7.0 s" in result.stdout) != cut
    assert len([request for request in server.requests if request.path == "/v1/diagnosis"]) == 2


def test_waiting_is_for_services(run: Callable[..., Result]) -> None:
    result = run("doctor", "--wait")
    assert (result.exit_code, "--wait needs --url" in result.stderr) == (2, True)
