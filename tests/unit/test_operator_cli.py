"""The commands of operators against a small real HTTP server: status, queue, workers, logs, jobs, completion."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result

from inferq import cli
from inferq.commands import units
from inferq.errors import InferqHTTPError
from inferq.stack import logs
from shared.schemas.diagnosis import Diagnosis
from shared.schemas.jobs import JobPage
from shared.schemas.models import DefaultModel
from shared.schemas.tenant_usage import TenantUsageList
from shared.schemas.workers import Queue, Readiness, WorkerList
from tests.unit.answers import complete, job
from tests.unit.toy_server import ToyServer

REPOSITORY = Path(__file__).parents[2]
READY = complete(Readiness, status="ready", **dict.fromkeys(("database", "queue", "storage", "workers", "model"), "ok"))
DEPTHS = [
    {"model": "birds", "version": "2", "priority": "high", "waiting": 1200, "running": 16, "oldest_seconds": 4.25},
    {"model": "(private)", "version": "", "priority": "low", "waiting": 3, "running": 0, "oldest_seconds": 190.0},
]
WORKERS = complete(
    WorkerList,
    workers=[
        {"id": "w1", "device": "cuda", "models": ["birds/2"], "pictures": 12_345, "holds": 16},
        {"id": "w2", "device": "cpu", "waits_for": "the storage"},
    ],
    trainers=[{"id": "t1", "device": "cpu", "busy": True}],
)


@pytest.fixture
def busy(server: ToyServer) -> ToyServer:
    """A service with work to do."""
    server.on("GET /readyz", (200, {}, READY))
    server.on("GET /v1/queue", (200, {}, complete(Queue, queue=DEPTHS, waiting=1203, running=16)))
    server.on("GET /v1/workers", (200, {}, WORKERS))
    server.on("GET /v1/default-model", (200, {}, complete(DefaultModel, model="birds", origin="service")))
    server.on("GET /v1/diagnosis", (200, {}, diagnosis(("queue", "ok", "all is well"))))
    return server


def diagnosis(*checks: tuple[str, str, str]) -> dict[str, Any]:
    """Return a diagnosis with these parts, verdicts and findings."""
    return complete(Diagnosis, checks=[dict(zip(("part", "verdict", "found"), check, strict=True)) for check in checks])


def rows(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def test_status_is_one_look_at_the_service(busy: ToyServer, run: Callable[..., Result]) -> None:
    result = run("status")
    assert result.exit_code == 0
    assert rows(result.stdout) == [
        f"{busy.url} ready",
        "model birds",
        "queue 1,203 pictures waiting, 16 running, the oldest for 3 min",
        "workers 1 on cuda; 1 on cpu; 1 waiting for the storage; 1 trainer, 1 training",
        "database ok",
        "storage ok",
    ]
    assert json.loads(run("status", "--json").stdout)["queue"]["waiting"] == 1203


def test_status_says_what_is_not_ready_and_exits_with_1(busy: ToyServer, run: Callable[..., Result]) -> None:
    away = READY | {"status": "not ready", "database": "The database does not answer; try again soon."}
    busy.on("GET /readyz", (503, {"Retry-After": "1"}, away))
    result = run("status")
    assert (result.exit_code, result.stdout.splitlines()[0]) == (1, f"{busy.url}  not ready")
    assert "database The database does not answer; try again soon." in rows(result.stdout)


def test_status_names_what_else_is_wrong_once_and_the_command_that_has_the_cure(
    busy: ToyServer, run: Callable[..., Result]
) -> None:
    silent = ("webhooks", "warning", "12 callbacks of the tenant acme wait for http://a.example")
    busy.on("GET /v1/diagnosis", (200, {}, diagnosis(silent, ("workers", "failed", "none is running"))))
    result = run("status")
    assert result.exit_code == 0  # it is ready
    assert rows(result.stdout)[-3:] == [
        "webhooks 12 callbacks of the tenant acme wait for http://a.example", "workers none is running",
        f"what to do: inferq doctor --url {busy.url}",
    ]  # fmt: skip
    assert [check["part"] for check in json.loads(run("status", "--json").stdout)["wrong"]] == ["webhooks", "workers"]

    busy.on("GET /readyz", (503, {}, READY | {"status": "not ready", "workers": "No worker is running."}))
    told = [line for line in rows(run("status").stdout) if line.startswith("workers")]
    assert told == ["workers No worker is running."]


@pytest.mark.parametrize("status", [403, 404, 503])
def test_status_says_why_there_is_no_diagnosis_and_shows_the_rest(
    busy: ToyServer, run: Callable[..., Result], status: int
) -> None:
    busy.on("GET /v1/diagnosis", (status, {}, {"code": "no", "detail": "Why."}))
    result = run("status")
    assert result.exit_code == 0
    assert rows(result.stdout)[-3:-1] == ["storage ok", "its parts it does not tell of them: Why"]


def test_queue_is_shown_by_model_and_priority(busy: ToyServer, run: Callable[..., Result]) -> None:
    assert rows(run("queue").stdout)[2:] == ["birds 2 high 1,200 16 4.2 s", "(private) low 3 0 3 min"]
    busy.on("GET /v1/queue", (200, {}, complete(Queue)))
    assert run("queue").stderr == "no picture waits or runs\n"


def test_workers_are_shown_with_what_they_do(busy: ToyServer, run: Callable[..., Result]) -> None:
    shown = rows(run("workers").stdout)
    assert [line.rpartition(" ")[0] for line in shown[2:5]] == [
        "w1 cuda worker 12,345 runs 16 pictures", "w2 cpu worker 0 waits", "t1 cpu trainer trains",
    ]  # fmt: skip
    assert shown[5:] == ["w2: waits for the storage", "w1: has birds/2 in memory"]


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"workers": "No worker is running."}, "no worker is running"),
        ({"workers": "It is not known which workers run.", "queue": "Full."}, "It is not known which workers run."),
    ],
)
def test_workers_are_not_said_to_be_away_while_redis_is_full(
    busy: ToyServer, run: Callable[..., Result], parts: dict[str, str], words: str
) -> None:
    busy.on("GET /v1/workers", (200, {}, complete(WorkerList)))
    busy.on("GET /readyz", (503, {}, READY | {"status": "not ready"} | parts))
    assert run("workers").stderr == f"{words}\n"
    assert parts["workers"] in run("status").stdout


def test_what_tenants_use_is_listed_in_units(server: ToyServer, run: Callable[..., Result]) -> None:
    acme = {"tenant": "acme", "keys": 2, "jobs": 31, "answered": 500, "failed": 3, "waiting": 7, "trainings": 4,
            "training_seconds": 900.0, "kept_bytes": 3 * 1024**2 // 2}  # fmt: skip
    server.on("GET /v1/usage", (200, {}, complete(TenantUsageList, tenants=[acme])))
    assert rows(run("tenants", "usage").stdout)[2:] == ["acme 2 31 500, 3 failed 7 1.5 MiB 4, 15 min"]
    assert json.loads(run("tenants", "usage", "--json").stdout)[0]["kept_bytes"] == 1_572_864


# jobs


def test_jobs_are_listed_from_a_while_ago(server: ToyServer, run: Callable[..., Result]) -> None:
    server.on("GET /v1/jobs", (200, {}, complete(JobPage)))
    run("jobs", "list", "--since", "2h", "--until", "2026-01-02", "--model", "birds")
    query = dict(pair.split("=") for pair in server.requests[0].path.partition("?")[2].split("&"))
    assert time.time() - float(query["since"]) == pytest.approx(7200, abs=30)
    assert (query["until"], query["model"]) == ("2026-01-02", "birds")


def test_a_job_is_shown_with_its_batches(server: ToyServer, run: Callable[..., Result]) -> None:
    batch = {"claimed_at": "2026-01-02T03:04:06.5Z", "stored_at": "2026-01-02T03:04:07Z", "worker": "w1", "batch": 16,
             "pictures": 2, "attempt": 1, "decode_ms": 12.4, "forward_ms": 250.0}  # fmt: skip
    server.on("GET /v1/jobs/j1", (200, {}, job("DONE", created_at="2026-01-02T03:04:05Z", timeline=[batch],
                                               finished_at="2026-01-02T03:04:07Z")))  # fmt: skip
    shown = rows(run("jobs", "show", "j1").stdout)
    assert "ended 2.0 s later" in shown
    assert shown[-1] == "1.5 s 2 16 1 12 ms 250 ms 2.0 s w1"


def test_a_job_that_waits_is_shown_with_its_place(server: ToyServer, run: Callable[..., Result]) -> None:
    server.on("GET /v1/jobs/j1", (200, {}, job("QUEUED", position=1234, eta="2026-01-02T03:04:07Z")))
    shown = rows(run("jobs", "show", "j1").stdout)
    assert "waits number 1,234 among those that wait for the model" in shown
    assert any(line.startswith("should end 2026-01-0") for line in shown)


# logs


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with the logs of three parts."""
    (tmp_path / "logs").mkdir()
    write(
        tmp_path, "api", "2026-01-02 03:04:05,100 INFO api: one", "2026-01-02 03:04:09,000 ERROR api: four", "  in it"
    )
    write(tmp_path, "worker-1", "2026-01-02 03:04:07,000 WARNING worker: three, of job j1")
    write(tmp_path, "valkey", "17:M 02 Jan 2026 03:04:06.250 * two")
    return tmp_path


def write(data: Path, part: str, *lines: str) -> None:
    with (data / "logs" / f"{part}.log").open("a") as file:
        file.writelines(f"{line}\n" for line in lines)


def test_logs_of_all_parts_are_shown_in_the_order_of_time(data: Path, run: Callable[..., Result]) -> None:
    shown = run("logs", "--data", data).stdout.splitlines()
    assert [line.split()[0] for line in shown] == ["api", "valkey", "worker-1", "api", "api"]
    assert shown[-1].endswith("  in it")
    assert run("logs", "--data", data, "--lines", 2).stdout.splitlines() == shown[-2:]
    assert run("logs", "--data", data, "--part", "worker-1").stdout.splitlines() == [shown[2]]


def test_logs_of_a_job_are_the_lines_that_name_it(data: Path, run: Callable[..., Result]) -> None:
    assert rows(run("logs", "j1", "--data", data).stdout) == [
        "worker-1 2026-01-02 03:04:07,000 WARNING worker: three, of job j1"
    ]
    nothing = run("logs", "j2", "--data", data)
    assert (nothing.exit_code, "no line in" in nothing.stderr, "inferq jobs list" in nothing.stderr) == (1, True, True)


STORY = {
    "api": [
        ("03.100", "INFO", "accepted 1 picture for m version 1 by native", {"request": "r1", "job": "j1"}),
        ("03.200", "INFO", "accepted 1 picture for m version 1 by native", {"request": "r2", "job": "j2"}),
        ("03.300", "INFO", "GET /v1/x refused: 404 not_found: None.", {"request": "r1"}),
    ],
    "worker-1": [
        ("03.250", "INFO", "claimed 2 pictures", {"jobs": "j1,j2", "batch": "b", "worker": "w1"}),
        ("04.000", "WARNING", "callback of job j1, try 1: away", {"job": "j1"}),
    ],
}


def written(line: tuple[str, str, str, dict[str, str]], form: str) -> str:
    """Return a line as a process writes it in one of the formats."""
    moment, level, message, ids = line
    if form == "json":
        lists = {name: value.split(",") if name == "jobs" else value for name, value in ids.items()}
        about = {"time": f"2026-01-02T03:04:{moment}Z", "level": level, "process": "p", "pid": 1, "message": message}
        return json.dumps(about | lists)
    named = "".join(f" {name}={value}" for name, value in ids.items())
    return f"2026-01-02T03:04:{moment}Z {level:<7} p[1] {message} {named}"


@pytest.fixture(params=["text", "json", "both"])
def told(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A data folder with the story of two jobs, in each format, or the parts in different ones."""
    (tmp_path / "logs").mkdir()
    forms = {"api": "text", "worker-1": "json"} if request.param == "both" else dict.fromkeys(STORY, request.param)
    for part, lines in STORY.items():
        write(tmp_path, part, *(written(line, forms[part]) for line in lines))
    return tmp_path


def test_the_story_of_a_job_or_request_is_the_same_in_each_format(told: Path, run: Callable[..., Result]) -> None:
    expected = [
        "api 2026-01-02 03:04:03.100 accepted 1 picture for m version 1 by native request=r1 job=j1",
        "worker-1 2026-01-02 03:04:03.250 claimed 2 pictures jobs=j1,j2 batch=b worker=w1",
        "api 2026-01-02 03:04:03.300 GET /v1/x refused: 404 not_found: None. request=r1",
        "worker-1 2026-01-02 03:04:04.000 WARNING callback of job j1, try 1: away job=j1",
    ]
    assert rows(run("logs", "j1", "--data", told).stdout) == expected
    assert rows(run("logs", "r1", "--data", told).stdout) == expected
    assert rows(run("logs", "j1", "--part", "worker-1", "--data", told).stdout) == [expected[1], expected[3]]
    assert rows(run("logs", "--data", told, "--lines", 1).stdout) == [expected[-1]]


def test_what_the_logs_lack_of_a_job_is_told_by_the_service(
    told: Path, server: ToyServer, run: Callable[..., Result]
) -> None:
    batch = {"worker": "w1", "pictures": 1, "batch": 2, "attempt": 1, "decode_ms": 2.5, "forward_ms": 31.25,
             "claimed_at": "2026-01-02T03:04:03.25Z", "stored_at": "2026-01-02T03:04:03.75Z"}  # fmt: skip
    server.on("GET /v1/jobs/j1", (200, {}, job("DONE", timeline=[batch], finished_at="2026-01-02T03:04:03.75Z",
                                               progress={"total": 1, "done": 1, "failed": 0})))  # fmt: skip
    shown = rows(run("logs", "j1", "--data", told).stdout)
    assert [line for line in shown if line.startswith("service")] == [
        "service 2026-01-02 03:04:03.750 ran 1 picture; decode 2.5 ms, forward 31.2 ms, attempt 1 worker=w1",
        "service 2026-01-02 03:04:03.750 ended as DONE, 1 answered, 0 failed",
    ]
    assert len(shown) == 6
    assert shown[-1].startswith("worker-1 2026-01-02 03:04:04.000")
    write(told, "worker-1", written(("03.750", "INFO", "ran 1 answered", {"jobs": "j1", "worker": "w1"}), "text"))
    completed = rows(run("logs", "j1", "--data", told).stdout)
    assert [line.split()[3] for line in completed if line.startswith("service")] == ["ended"]
    elsewhere = rows(run("logs", "j1", "--data", told / "nowhere").stdout)
    assert [line.split()[3] for line in elsewhere] == ["ran", "ended", "accepted"]


def test_a_traceback_is_told_with_its_line(told: Path, run: Callable[..., Result]) -> None:
    line = written(("05.000", "ERROR", "it broke", {"job": "j1"}), "text")
    write(told, "worker-2", line, "  Traceback", "  ValueError: bad", written(("06.000", "INFO", "other", {}), "text"))
    about = {"time": "2026-01-02T03:04:07.000Z", "level": "ERROR", "message": "again", "job": "j1", "exception": "A\nB"}
    write(told, "worker-2", json.dumps(about))
    assert rows(run("logs", "j1", "--data", told).stdout)[-6:] == [
        "worker-2 2026-01-02 03:04:05.000 ERROR it broke job=j1", "Traceback", "ValueError: bad",
        "worker-2 2026-01-02 03:04:07.000 ERROR again job=j1", "A", "B",
    ]  # fmt: skip
    assert "other" not in run("logs", "j1", "--data", told).stdout


def test_lines_that_were_moved_away_are_part_of_the_story(
    told: Path, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = rows(run("logs", "j1", "--data", told).stdout)
    monkeypatch.setattr(logs, "KEEP", 10)
    with (told / "logs" / "api.log").open("a") as held_by_its_part:
        logs.rotate_open(told / "logs" / "api.log")
        held_by_its_part.write(written(("09.000", "INFO", "cancelled", {"job": "j1"}), "text") + "\n")
    assert (told / "logs" / "api.log").read_text().count("\n") == 1
    after = rows(run("logs", "j1", "--data", told).stdout)
    assert after[:-1] == before
    assert after[-1] == "api 2026-01-02 03:04:09.000 cancelled job=j1"


@pytest.mark.parametrize("free", [25, 10**9])
def test_a_log_that_the_disk_takes_no_copy_of_is_cut_and_the_copy_of_before_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int
) -> None:
    def fill(_: Path, to: Path) -> None:
        to.write_text("a part of")
        raise OSError(errno.ENOSPC, "the disk is full")

    log, before = tmp_path / "api.log", tmp_path / "api.log.1"
    log.write_text("more than ten")
    before.write_text("before")
    monkeypatch.setattr(logs, "KEEP", 10)
    monkeypatch.setattr(shutil, "copyfile", fill)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    logs.rotate_open(log)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"api.log": "", "api.log.1": "before"}
    log.write_text("more than ten")
    logs.rotate_open(log)  # not again at once
    assert log.read_text() == "more than ten"


def test_logs_that_are_not_there_are_said_to_be_elsewhere(tmp_path: Path, run: Callable[..., Result]) -> None:
    result = run("logs", "--data", tmp_path)
    assert (result.exit_code, "--data" in result.stderr) == (1, True)


def test_a_part_without_a_log_is_named_with_those_that_have_one(data: Path, run: Callable[..., Result]) -> None:
    result = run("logs", "--data", data, "--part", "wroker")
    assert result.exit_code == 2
    assert "there is no log of wroker; there are: api, valkey, worker-1" in " ".join(result.stderr.split())


@pytest.mark.slow
def test_logs_are_followed(data: Path) -> None:
    command = [sys.executable, "-m", "inferq", "logs", "-f", "--lines", "0", "--part", "api", "--data", str(data)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        ended = threading.Event()

        def log() -> None:  # until it is shown: the command may have begun after the first line
            while not ended.wait(0.1):
                write(data, "worker-1", "hidden")
                write(data, "api", "shown")

        thread = threading.Thread(target=log)
        thread.start()
        first = process.stdout.readline()
        ended.set()
        thread.join()
        process.terminate()
    assert first.split() == ["api", "shown"]


def test_a_line_without_a_time_stays_behind_the_one_before_it(data: Path) -> None:
    write(data, "api", "Traceback", "2026-01-02 03:04:06,000 INFO api: late")
    newest = [line for _, line in logs.newest(logs.find(data / "logs"), None)]
    assert newest.index("Traceback") == newest.index("  in it") + 1
    assert newest.index("2026-01-02 03:04:06,000 INFO api: late") == 1


# completion


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_calls_the_command(shell: str, run: Callable[..., Result]) -> None:
    result = run("completion", shell)
    assert result.exit_code == 0
    assert f"_INFERQ_COMPLETE={shell}_complete" in result.stdout


def test_a_shell_completes_commands_options_and_values() -> None:
    def completed(words: list[str], incomplete: str) -> list[str]:
        return [item.value for item in ShellComplete(cli.main, {}, "inferq", "X").get_completions(words, incomplete)]

    assert completed([], "cl") == ["classify"]
    assert "--priority" in completed(["classify"], "--pri")
    assert completed(["classify", "--priority"], "h") == ["high"]
    assert "list" in completed(["jobs"], "l")


# words


def test_fields_in_messages_become_options() -> None:
    error = InferqHTTPError(400, "bad_weights", "Name the one to take: `state_key` ema, and give `inputs`.")
    assert cli.words(error) == "Name the one to take: --state-key ema, and give `inputs`."


def test_every_field_with_an_option_is_one_of_a_command_under_that_name() -> None:
    options = {
        option
        for group in ("models", "keys")
        for command in cli.main.get_command(click.Context(cli.main), group).commands.values()
        for parameter in command.params
        for option in parameter.opts
    }
    assert set(cli.FLAGS.values()) <= options


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (75.4, "75 s"), (300.0, "5 min"), (9000.0, "2.5 h"), (4 * 86_400.0, "4 days")],
)
def test_durations_are_shown_in_their_usual_unit(seconds: float, words: str) -> None:
    assert units.duration(seconds) == words


@pytest.mark.parametrize(
    ("size", "words"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (20 * 1024**3, "20 GiB"), (1024**4, "1 TiB")]
)
def test_sizes_are_shown_in_their_largest_unit(size: int, words: str) -> None:
    assert units.size(size) == words


def test_help_names_the_commands_in_the_order_of_their_use() -> None:
    shown = CliRunner().invoke(cli.main, ["--help"]).stdout
    assert [shown.index(f"\n  {name} ") for name in cli.COMMANDS] == sorted(
        shown.index(f"\n  {name} ") for name in cli.COMMANDS
    )
