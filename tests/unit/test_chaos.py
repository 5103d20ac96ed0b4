"""The judgement of a chaos run: losses, wrong and doubled answers are seen; a proxy can be away or silent."""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import redis

from bench.chaos import inside, report, result, ways
from bench.chaos.faults import FAULTS
from bench.chaos.journal import POISON, Journal, Request
from bench.chaos.proxy import Proxy
from bench.chaos.receiver import Receiver
from bench.chaos.reconcile import DOUBLED, LOST, WRONG, Evidence, Finding, Stored, judge
from bench.chaos.result import Result, Window
from bench.chaos.system import check_redis, make_proxy
from bench.chaos.ways import Caller
from inferq.errors import CannotStart

WINDOWS = [Window("worker killed", 10.0, 10.0, 20.0, {"SAP": 0.5, "IMG": 4.0})]


def request(number: int, right: tuple[str, ...] = ("7",), *, ended: float = 12.0, callback: str = "") -> Request:
    return Request(number, "native", right, 11.0, f"j{number}", right, callback, ended=ended)


def kept(labels: tuple[str, ...] = ("7",)) -> Stored:
    return Stored("DONE", True, labels, len(labels), len(labels))


def judged(journal: Journal, evidence: Evidence) -> Result:
    """Return the result of a run in which one fault was injected."""
    findings = judge(journal.requests, evidence)
    rows = result.rows(journal, WINDOWS, findings)
    words = [finding.why for finding in findings]
    machine = {"date": "2026-11-26"}
    return Result(machine, 1, "SQLite", WINDOWS, {"disk full": "no"}, words, rows, [5.0, 1.0, 5.0], 5.0, 5.0, 0.0, 0)


def test_a_run_in_which_everything_is_right_exits_with_0() -> None:
    journal = Journal()
    journal.requests = [request(0, ended=5.0), request(1), request(2, ("3", POISON))]
    run = judged(journal, Evidence({"j0": kept(), "j1": kept(), "j2": kept(("3", POISON))}))
    assert [(row.fault, row.accepted, row.right) for row in run.rows] == [("no fault", 1, 1), ("worker killed", 2, 2)]
    assert (run.exit_code, run.findings) == (0, [])
    assert all(goal.reached for goal in run.goals())
    assert (run.rows[1].recovery_p50, run.rows[1].recovery_max) == (2.25, 4.0)


def test_a_dropped_job_is_one_loss_and_exits_with_1() -> None:
    journal = Journal()
    journal.requests = [request(0), request(1)]
    run = judged(journal, Evidence({"j0": kept()}))
    assert [row.lost for row in run.rows] == [0, 1]
    assert run.exit_code == 1
    assert run.findings == ["job j1 was accepted and is not found"]


@pytest.mark.parametrize(
    ("sent", "job", "kind"),
    [
        pytest.param(request(0), kept(("3",)), WRONG, id="another label"),
        pytest.param(request(0), kept(("picture_missing",)), LOST, id="an error for a good picture"),
        pytest.param(request(0, (POISON,)), kept(("7",)), WRONG, id="a label for a picture that kills"),
        pytest.param(request(0, ("7", "8")), kept(("7",)), LOST, id="a picture without an outcome"),
        pytest.param(request(0), Stored("RUNNING", False, (), 1, 0), LOST, id="a job that does not end"),
        pytest.param(request(0), Stored("DONE", True, ("7",), 1, 2), DOUBLED, id="an outcome that is counted twice"),
        pytest.param(request(0), kept(("7", "7")), DOUBLED, id="two outcomes of one picture"),
    ],
)
def test_what_is_wrong_with_a_job_is_seen(sent: Request, job: Stored, kind: str) -> None:
    assert kind in [finding.kind for finding in judge([sent], Evidence({"j0": job}))]


def test_an_answer_that_differs_from_the_stored_one_is_wrong() -> None:
    given = replace(request(0), answer=("1",))
    assert [finding.kind for finding in judge([given], Evidence({"j0": kept()}))] == [WRONG]


def test_a_broken_promise_and_a_job_that_nobody_knows_are_losses() -> None:
    broken = Request(0, "IMG", ("7",), 1.0, broken="the stored image was not found")
    assert [finding.kind for finding in judge([broken], Evidence(unfinished=["j9"]))] == [LOST, LOST]


def test_a_job_that_may_be_stored_is_owed_once_it_is_found() -> None:
    doubtful = replace(request(0), answer=None, in_doubt=True)
    assert judge([doubtful], Evidence()) == []
    assert not doubtful.accepted
    found = Evidence({"j0": Stored("QUEUED", False, (), 1, 0)})
    assert [finding.kind for finding in judge([doubtful], found)] == [LOST]


def test_two_jobs_of_one_request_are_doubled() -> None:
    found = judge([request(0)], Evidence({"j0": kept()}, {0: ["j0", "j1"]}))
    assert found == [Finding(0, DOUBLED, "jobs j0, j1 were made of one request")]


def test_a_callback_must_come_and_may_come_again_with_the_same_content_only() -> None:
    sent, jobs = request(0, callback="http://here/"), {"j0": kept()}
    assert [f.kind for f in judge([sent], Evidence(jobs))] == [LOST]
    assert judge([sent], Evidence(jobs, callbacks={"j0": ["a", "a"]})) == []
    assert [f.kind for f in judge([sent], Evidence(jobs, callbacks={"j0": ["a", "b"]}))] == [DOUBLED]


def test_a_request_without_an_accepted_job_is_owed_nothing() -> None:
    journal = Journal()
    journal.requests = [Request(0, "Einstein", ("7",), 11.0, errors=["503"], ended=12.0)]
    run = judged(journal, Evidence())
    assert (run.rows[1].accepted, run.rows[1].errors, run.exit_code) == (0, {"503": 1}, 0)


def test_an_answer_that_cannot_be_read_is_a_loss_and_does_not_end_the_caller() -> None:
    def unreadable(caller: Caller, sent: Request) -> tuple[str, ...]:
        raise KeyError("predictions")

    sent = Request(0, "native", ("7",), 1.0)
    with closing(Caller(["http://127.0.0.1:9"])) as caller:
        ways.send(caller, sent, unreadable, lambda: 2.0)
    assert (sent.ended, [finding.kind for finding in judge([sent], Evidence())]) == (2.0, [LOST])


def test_a_caller_tries_again_while_no_api_answers_and_is_owed_nothing() -> None:
    sent = Request(0, "native", ("7",), 1.0)
    with closing(Caller(["http://127.0.0.1:9"], lambda: len(sent.errors) == 2)) as caller:
        ways.send(caller, sent, ways.polled, lambda: 2.0)
    assert (sent.errors, sent.accepted, sent.ended) == (["ConnectError"] * 2, False, 2.0)


def test_the_result_is_json_and_a_page_that_needs_no_other_file(tmp_path: Path) -> None:
    journal = Journal()
    journal.requests = [request(0), request(1)]
    data, page = report.write(judged(journal, Evidence({"j0": kept()})), tmp_path)
    assert json.loads(data.read_text())["exit_code"] == 1
    text = page.read_text()
    assert "<svg" in text
    assert "job j1 was accepted and is not found" in text
    assert "not injected here, since no: disk full" in text
    assert not [word for word in ("<script", "<link", "<img") if word in text]


def test_no_fault_that_must_lead_to_a_loss_is_injected_unasked() -> None:
    assert [name for name, fault in FAULTS.items() if fault.by_name_only] == ["job dropped"]


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that sends back what it gets."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(connection: socket.socket) -> None:
        with connection:
            while data := connection.recv(100):
                connection.sendall(data)

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def test_a_frozen_proxy_passes_on_later_what_has_waited(echo: int) -> None:
    proxy = Proxy("127.0.0.1", echo)
    with closing(socket.create_connection(("127.0.0.1", proxy.port))) as connection:
        connection.sendall(b"before")
        assert connection.recv(100) == b"before"
        proxy.freeze()
        connection.sendall(b"later")
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.recv(100)
        proxy.thaw()
        connection.settimeout(30)
        assert connection.recv(100) == b"later"


def test_a_vanished_proxy_breaks_connections_and_refuses_others_until_it_is_back(echo: int) -> None:
    proxy = Proxy("127.0.0.1", echo)
    with closing(socket.create_connection(("127.0.0.1", proxy.port))) as connection:
        connection.sendall(b"before")
        assert connection.recv(100) == b"before"
        proxy.vanish()
        connection.settimeout(30)
        assert connection.recv(100) == b""
        with pytest.raises(ConnectionError):
            socket.create_connection(("127.0.0.1", proxy.port)).close()
    proxy.appear()
    with closing(socket.create_connection(("127.0.0.1", proxy.port))) as connection:
        connection.sendall(b"again")
        assert connection.recv(100) == b"again"


def test_a_receiver_keeps_what_a_callback_says_but_not_when() -> None:
    receiver = Receiver()
    for moment in ("12:00", "12:01"):
        answer = called(receiver.url(), moment)
        assert answer.status_code == 204
    assert receiver.received == {"j1": ['{"status": "DONE"}'] * 2}


def test_a_receiver_is_silent_on_one_path_until_it_speaks_again() -> None:
    receiver = Receiver()
    receiver.speaks.clear()
    with pytest.raises(httpx.ReadTimeout):
        called(receiver.url("/moody"), "12:00", timeout=0.2)
    assert called(receiver.url(), "12:00").status_code == 204
    receiver.speaks.set()
    assert called(receiver.url("/moody"), "12:01").status_code == 204
    assert len(receiver.received["j1"]) == 2


def called(url: str, moment: str, timeout: float = 30.0) -> httpx.Response:
    """Send a callback."""
    body = {"timestamp": moment, "data": {"status": "DONE"}}
    return httpx.post(url, json=body, headers={"webhook-id": "j1"}, trust_env=False, timeout=timeout)


@pytest.mark.redis
def test_a_redis_that_holds_keys_is_refused_before_anything_is_flushed(valkey: str) -> None:
    with redis.Redis.from_url(valkey) as server:
        server.set("precious", "1")
        with pytest.raises(CannotStart, match="holds keys"):
            check_redis(valkey)
        assert server.get("precious") == b"1"
        server.delete("precious")


@pytest.mark.parametrize("url", ["redis:///0", "rediss://here:6379/0", "mysql://here/x"])
def test_a_server_that_cannot_be_put_behind_the_proxy_is_refused(url: str) -> None:
    with pytest.raises(CannotStart, match="redis://HOST"):
        make_proxy(url)


def test_the_clock_of_a_part_is_wrong_by_what_the_file_says_while_it_runs(tmp_path: Path) -> None:
    clock = tmp_path / "clock"
    clock.write_bytes(struct.pack("d", 0.0))
    code = "import time\nfor line in iter(input, ''): print(time.time(), flush=True)"
    environment = {"PYTHONPATH": str(Path(inside.__file__).parent), "INFERQ_BENCH_CLOCK": str(clock)}
    with subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as part:
        assert part.stdin
        assert part.stdout
        for wrong in (0.0, 86_400.0, -86_400.0):
            with clock.open("r+b") as file:
                file.write(struct.pack("d", wrong))
            part.stdin.write("now\n")
            part.stdin.flush()
            assert float(part.stdout.readline()) == pytest.approx(time.time() + wrong, abs=3600)
        part.kill()
