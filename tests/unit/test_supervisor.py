"""The supervisor, the data folder and `inferq up`, with small processes in place of the parts."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from inferq.commands import console
from inferq.commands import up as up_command
from inferq.errors import CannotStart
from inferq.stack import data_dir, stack, supervisor, valkey
from inferq.stack.logs import KEEP, Follower, last_line, rotate
from inferq.stack.supervisor import Part, Supervisor
from tests.needed import missing

pytestmark = pytest.mark.slow

GENEROUS = 30.0
REPOSITORY = Path(__file__).parents[2]
FOREVER = "import time; time.sleep(600)"
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
time.sleep(600)
"""
LAST_WORDS = """
import signal, sys, time
def leave(*_):
    with open(sys.argv[1], "a") as file:
        file.write(sys.argv[2] + "\\n")
    sys.exit()
signal.signal(signal.SIGTERM, leave)
print("up", flush=True)
time.sleep(600)
"""


@pytest.fixture
def messages() -> list[str]:
    return []


@pytest.fixture
def boss(messages: list[str]) -> Iterator[Supervisor]:
    supervisor = Supervisor(messages.append)
    yield supervisor
    supervisor.stop()
    supervisor.stop()
    supervisor.drain()


@pytest.fixture
def part(tmp_path: Path) -> Callable[..., Part]:
    def make(name: str, code: str, *argv: str, drain: float = GENEROUS) -> Part:
        return Part(name, [sys.executable, "-c", code, *argv], dict(os.environ), tmp_path / f"{name}.log", drain)

    return make


def gone(pid: int) -> bool:
    """Return True if the process has ended, also if its parent has not collected it yet."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z"


def eventually(true: Callable[[], object]) -> bool:
    end = time.monotonic() + GENEROUS
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def test_a_part_that_is_killed_is_started_again_with_a_message(
    boss: Supervisor, messages: list[str], part: Any
) -> None:
    boss.start(part("api", FOREVER))
    first = boss.pids()["api"]
    os.kill(first, signal.SIGKILL)
    assert boss.watch(lambda: boss.pids().get("api", first) != first, GENEROUS)
    assert messages[0] == "api was killed by SIGKILL; starting it again in 0.2 s"
    assert messages[1].startswith("api is running again")


def test_a_part_that_keeps_exiting_is_started_ever_more_slowly_and_its_last_lines_are_shown(
    boss: Supervisor, messages: list[str], part: Any
) -> None:
    boss.start(part("worker", "print('no such model', flush=True); raise SystemExit(3)"))
    boss.watch(lambda: len(messages) >= 5, GENEROUS)
    exits = [line for line in messages if "exited" in line]
    assert exits[0] == "worker exited with 3: no such model; starting it again in 0.2 s"
    assert [line.rpartition(" in ")[2] for line in exits[:3]] == ["0.2 s", "0.4 s", "0.8 s"]


def test_a_part_that_lived_long_enough_is_started_again_quickly(
    boss: Supervisor, messages: list[str], part: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "HEALTHY_AFTER", 0.0)
    boss.start(part("worker", "raise SystemExit(3)"))
    boss.watch(lambda: len(messages) >= 3, GENEROUS)
    assert [line for line in messages if "exited" in line][1].endswith("in 0.2 s")


def test_stages_stop_in_the_reverse_order_of_their_start(boss: Supervisor, part: Any, tmp_path: Path) -> None:
    order = tmp_path / "order"
    names = ["valkey", "worker", "api"]
    for name in names:
        boss.start(part(name, LAST_WORDS, str(order), name))
    assert boss.watch(lambda: all(last_line(tmp_path / f"{name}.log") == "up" for name in names), GENEROUS)
    boss.drain()
    assert order.read_text().split() == ["api", "worker", "valkey"]


def test_a_part_that_was_started_beside_another_stops_with_it(boss: Supervisor, part: Any, tmp_path: Path) -> None:
    order = tmp_path / "order"
    worker = part("worker", LAST_WORDS, str(order), "worker")
    boss.start(worker)
    boss.start(part("api", LAST_WORDS, str(order), "api"))
    boss.start(part("late", LAST_WORDS, str(order), "late"), beside=worker)
    names = ["worker", "api", "late"]
    assert boss.watch(lambda: all(last_line(tmp_path / f"{name}.log") == "up" for name in names), GENEROUS)
    boss.drain()
    assert order.read_text().split()[0] == "api"


def test_a_part_that_does_not_stop_in_time_is_killed_with_a_message(
    boss: Supervisor, messages: list[str], part: Any, tmp_path: Path
) -> None:
    boss.start(part("worker", STUBBORN, drain=0.1))
    pid = boss.pids()["worker"]
    assert boss.watch(lambda: last_line(tmp_path / "worker.log") == "up", GENEROUS)
    boss.drain()
    assert gone(pid)
    assert messages == ["worker did not stop within 0.1 s and is killed"]


def test_a_second_stop_kills_at_once(boss: Supervisor, messages: list[str], part: Any, tmp_path: Path) -> None:
    boss.start(part("worker", STUBBORN, drain=10 * GENEROUS))
    pid = boss.pids()["worker"]
    assert boss.watch(lambda: last_line(tmp_path / "worker.log") == "up", GENEROUS)
    boss.stop()
    second = threading.Timer(0.1, boss.stop)
    second.start()
    boss.drain()
    second.join()
    assert gone(pid)
    assert messages == []


def test_parts_do_not_hear_the_terminals_ctrl_c(boss: Supervisor, part: Any) -> None:
    boss.start(part("api", FOREVER))
    pid = boss.pids()["api"]
    assert (os.getsid(pid), os.getpgid(pid)) == (pid, pid)


def test_what_an_exited_part_leaves_running_is_killed_with_it(
    boss: Supervisor, messages: list[str], part: Any, tmp_path: Path
) -> None:
    fork = f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', {FOREVER!r}]).pid, flush=True)"
    boss.start(part("api", f"{fork}; {FOREVER}"))
    assert boss.watch(lambda: last_line(tmp_path / "api.log").isdigit(), GENEROUS)
    orphan = int(last_line(tmp_path / "api.log"))
    os.kill(boss.pids()["api"], signal.SIGKILL)
    assert boss.watch(lambda: messages, GENEROUS)
    assert eventually(lambda: gone(orphan))


@pytest.mark.skipif(sys.platform != "linux", reason="macOS has no parent-death signal; the next `up` cleans up there")
def test_kill_9_of_the_supervisor_leaves_no_part_behind(tmp_path: Path) -> None:
    code = f"""
import os, sys, time
from pathlib import Path
from inferq.stack.supervisor import Part, Supervisor
from tests.needed import missing
boss = Supervisor(print)
boss.start(Part("api", [sys.executable, "-c", {FOREVER!r}], dict(os.environ), Path({str(tmp_path)!r}) / "api.log"))
print(boss.pids()["api"], flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=REPOSITORY) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        process.kill()
    assert eventually(lambda: gone(pid))


def test_watching_ends_with_its_time_limit(boss: Supervisor) -> None:
    assert boss.watch(lambda: False, 0.01) is False
    assert boss.watch(lambda: True, 0.01) is True


def test_a_program_that_does_not_exist_is_an_error_at_once(boss: Supervisor, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        boss.start(Part("x", [str(tmp_path / "nowhere")], {}, tmp_path / "x.log"))


def test_a_large_log_is_set_aside_and_a_small_one_kept(tmp_path: Path) -> None:
    large, small = tmp_path / "large.log", tmp_path / "small.log"
    with large.open("wb") as file:
        file.truncate(KEEP + 1)
    small.write_text("words")
    rotate(large)
    rotate(small)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["large.log.1", "small.log"]


def test_followed_logs_show_whole_new_lines_under_their_name(tmp_path: Path) -> None:
    (tmp_path / "old.log").write_text("before\n")
    shown: list[tuple[str, str]] = []
    follower = Follower(tmp_path, lambda name, line: shown.append((name, line)))
    for text in ("one\ntw", "o\n"):
        with (tmp_path / "api.log").open("a") as log:
            log.write(text)
        follower.read()
    with (tmp_path / "old.log").open("a") as log:
        log.write("after\n")
    follower.read()
    (tmp_path / "api.log").write_text("anew\n")
    follower.read()
    assert shown == [("api", "one"), ("api", "two"), ("old", "after"), ("api", "anew")]


def test_a_folder_serves_one_stack_at_a_time(tmp_path: Path) -> None:
    with data_dir.claim(tmp_path), pytest.raises(CannotStart, match="--data"):
        data_dir.claim(tmp_path)
    data_dir.claim(tmp_path).close()


@pytest.mark.parametrize("inside", [[], ["inferq.db", "blobs"], ["stack.json"]])
def test_a_data_folder_that_others_could_read_is_taken_from_them(tmp_path: Path, inside: list[str]) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for name in inside:
        (folder / name).touch()
    folder.chmod(0o755)
    data_dir.claim(folder).close()
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_folder_of_other_things_that_others_can_read_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    tmp_path.chmod(0o755)
    with pytest.raises(CannotStart, match=r"other users can read .* chmod go-rwx "):
        data_dir.claim(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    assert tmp_path.stat().st_mode & 0o777 == 0o755
    tmp_path.chmod(0o700)
    data_dir.claim(tmp_path).close()


def test_a_folder_that_cannot_be_created_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CannotStart, match=r"file/data.*--data"):
        data_dir.claim(tmp_path / "file" / "data")


@pytest.mark.parametrize("find", ["processes", "_from_ps"])
def test_leftovers_are_known_by_their_folder_and_strangers_are_spared(
    find: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if find == "_from_ps":
        if subprocess.run(["which", "ps"], capture_output=True, check=False).returncode:
            missing("ps, of the package procps,")
        monkeypatch.setattr(data_dir, "_from_proc", data_dir._from_ps)
    ours, theirs = tmp_path / "a", tmp_path / "ab"
    argv = [sys.executable, "-c", FOREVER]
    with (
        subprocess.Popen(argv, env={data_dir.STACK_VARIABLE: str(ours)}) as left,
        subprocess.Popen(argv, env={data_dir.STACK_VARIABLE: str(theirs)}) as stranger,
    ):
        try:
            reaper = threading.Thread(target=left.wait)  # as init does with real orphans
            reaper.start()
            assert data_dir.clean(ours) == [left.pid]
            assert not gone(stranger.pid)
            reaper.join()
            assert left.returncode == -signal.SIGKILL
        finally:
            left.kill()
            stranger.kill()


def test_a_taken_port_is_named_with_the_option_that_helps() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotStart, match=rf"{port}.*--port"):
            stack.check_port("127.0.0.1", port)


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(CannotStart, match=r"192\.0\.2\.1.*--host"):
        stack.check_port("192.0.2.1", 0)


def test_the_embedded_stack_keeps_off_databases_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DATABASE_URL", "INFERQ_DATABASE_URL", "REDIS_URL", "INFERQ_TRAINING_REDIS_URL", "STORAGE_URL"):
        monkeypatch.setenv(name, "production")
    planned = stack.plan(stack.StackOptions(tmp_path, port=0, workers=2, default_model="digits"))
    for each in (planned.migrations, planned.api, *planned.workers):
        assert "production" not in each.env.values()
        assert each.env["DATABASE_URL"] == f"sqlite:///{tmp_path}/inferq.db"
        assert each.env["INFERQ_DEFAULT_MODEL"] == "digits"
    assert [each.name for each in planned.workers] == ["worker-1", "worker-2", "trainer", "maintenance"]


def test_a_stack_has_one_trainer_unless_it_is_left_out(tmp_path: Path) -> None:
    trainer = next(each for each in stack.plan(stack.StackOptions(tmp_path, port=0)).workers if each.name == "trainer")
    assert trainer.argv[-2:] == ("worker", "--trainer")
    assert int(trainer.env["OMP_NUM_THREADS"]) >= 1
    without = stack.plan(stack.StackOptions(tmp_path, port=0, trainer=False))
    assert [each.name for each in without.workers] == ["worker-1", "maintenance"]


def test_the_embedded_valkey_keeps_what_it_acknowledged_through_kill_9(
    boss: Supervisor, messages: list[str], tmp_path: Path
) -> None:
    planned = stack.plan(stack.StackOptions(tmp_path, port=0))
    assert planned.valkey
    boss.start(planned.valkey)
    assert boss.watch(lambda: valkey.is_ready(planned.redis_url), GENEROUS)
    assert not valkey.is_ready(f"redis://{planned.redis_url.rpartition('@')[2]}"), "it must ask for the password"
    with redis.Redis.from_url(planned.redis_url) as connection:
        connection.set("accepted", "job")
        assert connection.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        os.kill(boss.pids()["valkey"], signal.SIGKILL)
        assert boss.watch(lambda: messages, GENEROUS)
        assert boss.watch(lambda: valkey.is_ready(planned.redis_url), GENEROUS)
        assert connection.get("accepted") == b"job"
    assert valkey.server_version(planned.redis_url) >= (6, 2)


def test_a_disk_that_is_full_delays_what_is_written_of_a_stack_and_does_not_stop_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    description = stack.Description(stack.plan(stack.StackOptions(tmp_path, port=0)), clock=lambda: now[0])
    description.write({"api": 1})

    def full(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    def pids() -> dict[str, int]:
        return dict(json.loads((tmp_path / "stack.json").read_text())["pids"])

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_text", full)
        description.write({"api": 2})
        description.tick()
        now[0] += 2
        description.tick()
    assert pids() == {"api": 1}
    description.tick()
    assert pids() == {"api": 1}
    now[0] += 2
    description.tick()
    assert pids() == {"api": 2}


def test_words_that_a_full_disk_does_not_take_do_not_stop_a_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(number: int) -> Callable[..., None]:
        def print_(*_: object, **__: object) -> None:
            raise OSError(number, os.strerror(number))

        return print_

    monkeypatch.setattr(console.out, "print", fail(errno.ENOSPC))
    up_command._trouble("worker-1 was killed")
    monkeypatch.setattr(console.out, "print", fail(errno.EIO))
    with pytest.raises(OSError, match="Input/output"):
        up_command._trouble("worker-1 was killed")


# `inferq up`, with toys in place of migrations, api and worker

TOYS = {
    "migrations/__main__.py": "",
    "api/setup.py": """
        import json, os, sys
        if os.environ["INFERQ_HOST"] != "127.0.0.1":
            sys.exit("inferq will not listen on 0.0.0.0 without a key")
        print(json.dumps({"default_model": "digits", "why": "there is no network"}))
    """,
    "api/__main__.py": """
        import os
        from http.server import BaseHTTPRequestHandler, HTTPServer
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.end_headers()
        HTTPServer((os.environ["INFERQ_HOST"], int(os.environ["INFERQ_PORT"])), Handler).serve_forever()
    """,
    "worker/__main__.py": "import time; time.sleep(600)",
}


class Up:
    """`inferq up` with toy processes as its parts, and the lines that it has printed."""

    def __init__(self, toys: Path, data: Path, *more: str) -> None:
        # Started in a folder that has packages by the same names, as a user's own project may.
        foreign = data.parent / "project"
        for name in TOYS:
            (foreign / name).parent.mkdir(parents=True, exist_ok=True)
            (foreign / name).write_text("raise SystemExit('this is not inferq')")
            (foreign / name).with_name("__init__.py").touch()
        env = {**os.environ, "PYTHONPATH": f"{toys}:{REPOSITORY}", "PYTHONUNBUFFERED": "1"}
        argv = [sys.executable, "-P", "-m", "inferq", "up", "--port", "0", "--data", str(data), "--workers", "1", *more]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            argv, cwd=foreign, env=env, stdout=pipe, stderr=pipe, text=True, start_new_session=True
        )
        self.data = data

    def until(self, words: str) -> str:
        assert self.process.stdout is not None
        seen = ""
        for line in self.process.stdout:
            seen += line
            if words in line:
                return seen
        assert self.process.stderr is not None
        raise AssertionError(f"{words!r} was never printed, but: {seen} {self.process.stderr.read()}")

    def pids(self) -> dict[str, int]:
        return dict(json.loads((self.data / "stack.json").read_text())["pids"])

    def ended(self) -> tuple[int, str]:
        _, errors = self.process.communicate(timeout=GENEROUS)
        return self.process.returncode, errors


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Callable[..., Up]]:
    for name, code in TOYS.items():
        file = tmp_path / "toys" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        (file.parent / "__init__.py").touch()
        lines = code.splitlines()
        file.write_text("\n".join(line.removeprefix(" " * 8) for line in lines))
    started: list[Up] = []

    def start(*more: str) -> Up:
        started.append(Up(tmp_path / "toys", tmp_path / "data", *more))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.communicate()
    data_dir.clean(tmp_path / "data")


def test_up_says_what_it_decided_and_drains_on_sigterm(up: Callable[..., Up]) -> None:
    running = up()
    seen = running.until("/readyz")
    assert "digits: there is no network" in seen
    assert running.pids().keys() == {"valkey", "worker-1", "trainer", "maintenance", "api"}
    pids = running.pids().values()
    running.process.terminate()
    assert running.ended() == (0, "")
    assert all(gone(pid) for pid in pids)
    assert running.pids() == {}


def test_up_starts_a_killed_part_again(up: Callable[..., Up]) -> None:
    running = up()
    running.until("/readyz")
    before = running.pids()
    os.kill(before["worker-1"], signal.SIGKILL)
    running.until("worker-1 is running again")
    assert eventually(lambda: running.pids()["worker-1"] != before["worker-1"])
    assert {name: pid for name, pid in running.pids().items() if name != "worker-1"} == {
        name: pid for name, pid in before.items() if name != "worker-1"
    }


def test_a_second_up_on_the_same_folder_is_refused_in_one_line(up: Callable[..., Up]) -> None:
    up().until("/readyz")
    code, errors = up().ended()
    assert code == 2
    assert errors.count("\n") == 1
    assert "--data" in errors


def test_after_kill_9_of_everything_the_next_up_just_works(up: Callable[..., Up]) -> None:
    first = up()
    first.until("/readyz")
    pids = first.pids().values()
    first.process.kill()
    second = up()
    second.until("/readyz")
    assert all(gone(pid) for pid in pids)


def test_the_reason_not_to_listen_is_shown_as_it_is(up: Callable[..., Up], tmp_path: Path) -> None:
    setup = tmp_path / "toys" / "api" / "setup.py"
    setup.write_text("import sys; print('inferq needs a key to listen there', file=sys.stderr); sys.exit(2)")
    running = up()
    assert running.ended() == (2, "inferq: inferq needs a key to listen there\n")
    assert data_dir.processes(running.data) == []


def test_a_schema_that_cannot_be_made_ends_the_start_with_its_reason(up: Callable[..., Up], tmp_path: Path) -> None:
    (tmp_path / "toys" / "migrations" / "__main__.py").write_text("raise SystemExit('the database is newer than this')")
    code, errors = up().ended()
    assert code == 1
    assert "the database is newer than this" in errors


def test_ctrl_c_during_the_start_leaves_nothing_behind(up: Callable[..., Up], tmp_path: Path) -> None:
    (tmp_path / "toys" / "migrations" / "__main__.py").write_text(FOREVER)
    running = up()
    running.until("valkey")
    running.process.send_signal(signal.SIGINT)
    assert running.ended()[0] == 130
    assert data_dir.processes(running.data) == []
