"""The embedded stack: its processes, the order in which they start, and the conditions for being ready.

plan       port, Valkey's binary, commands           CannotStart: nothing was started
valkey     on loopback, append-only file in the data folder
migrations one-shot: the schema is current
api.setup  one-shot: the catalogue is filled, the default model decided; may refuse to listen
workers, trainer, maintenance  started beside api.setup: importing torch takes longest
api        and then /readyz: database, Redis and a worker are ready
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from inferq.errors import CannotStart, StartFailed
from inferq.stack import data_dir, valkey
from inferq.stack.logs import last_line
from inferq.stack.supervisor import Part, Supervisor, spawn

START_LIMIT = 120.0
"""Seconds after which a stack that is not ready is given up. A start takes a few seconds; torch on a cold disk takes
longer."""
OWN = ("DATABASE_URL", "REDIS_URL", "TRAINING_REDIS_URL", "STORAGE_URL")
"""Variables that the embedded stack always sets itself, so that a variable of another environment cannot direct it to a
production database."""


@dataclass(frozen=True)
class StackOptions:
    """The options of `inferq up`."""

    data: Path
    """Absolute path of the data folder."""
    host: str = "127.0.0.1"
    port: int = 8000
    """0 picks a free port."""
    workers: int = 1
    trainer: bool = True
    """True to start a trainer as well; without it trainings and datasets wait."""
    default_model: str = ""
    """Empty if api.setup decides."""


@dataclass(frozen=True)
class Plan:
    """The processes of a stack, and its addresses."""

    data: Path
    url: str
    redis_url: str
    """Includes the password."""
    valkey: Part | None
    """None if the Redis of `redis_url` runs already."""
    migrations: Part
    setup: Part
    workers: tuple[Part, ...]
    """Workers, then the trainer, if there is one; maintenance is the last. The start waits for workers only."""
    api: Part


class Description:
    """DATA/stack.json, for scripts that need the addresses and pids of a stack. A disk that is full does not stop the
    stack: the file is written when there is room."""

    def __init__(self, plan: Plan, clock: Callable[[], float] = time.monotonic) -> None:
        self._plan, self._clock = plan, clock
        self._pids: dict[str, int] = {}
        self._retry_at = math.inf
        """When the file is to be written again (monotonic seconds), because it could not be."""

    def write(self, pids: Mapping[str, int]) -> None:
        """Write the file with these pids, now or when there is room."""
        self._pids = dict(pids)
        try:
            self._write()
            self._retry_at = math.inf
        except OSError:
            self._retry_at = self._clock() + 1

    def tick(self) -> None:
        """Write the file again if it could not be written a second ago; called at each check of the parts."""
        if self._clock() >= self._retry_at:
            self.write(self._pids)

    def _write(self) -> None:
        plan = self._plan
        fresh = plan.data / "stack.json.new"
        fresh.touch(mode=0o600)  # it holds the password
        fresh.write_text(json.dumps({"url": plan.url, "redis_url": plan.redis_url, "pids": self._pids}, indent=1))
        fresh.replace(plan.data / "stack.json")


@dataclass(frozen=True)
class Decision:
    """The default model, and the reason for it."""

    model: str
    why: str


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def plan(options: StackOptions) -> Plan:
    """Check the preconditions, write Valkey's configuration, and define the processes; raises CannotStart."""
    port = options.port or free_port()
    check_port(options.host, port)
    binary = valkey.binary()
    valkey.version(binary)
    valkey_port, password = free_port(), secrets.token_urlsafe(24)
    configuration = valkey.configure(options.data / "redis", valkey_port, password)
    redis_url = f"redis://:{password}@127.0.0.1:{valkey_port}/0"
    env = _environment(options, port, redis_url)
    # The cores are divided between the workers: more threads than cores make all of them slow.
    threads = str(max(1, cores() // options.workers))
    worker_env = {"INFERQ_TORCH_THREADS": threads, "OMP_NUM_THREADS": threads, **env}
    names = [f"worker-{number}" for number in range(1, options.workers + 1)]
    # As many threads as its setting's default; it yields to the workers by its priority, not by fewer threads.
    trainer_env = {"OMP_NUM_THREADS": str(max(1, cores() - 1)), **env}

    def part(name: str, *argv: str, env: Mapping[str, str] = env, drain: float = 30.0) -> Part:
        return Part(name, argv, env, options.data / "logs" / f"{name}.log", drain)

    def module(name: str, *argv: str, env: Mapping[str, str] = env, drain: float = 30.0) -> Part:
        # -P: modules in the current folder must not be imported, whatever their names.
        return part(name, sys.executable, "-P", "-m", *argv, env={**env, "INFERQ_PROCESS_NAME": name}, drain=drain)

    return Plan(
        data=options.data,
        url=f"http://{_reachable(options.host)}:{port}",
        redis_url=redis_url,
        valkey=part("valkey", binary, str(configuration), drain=10.0),
        migrations=module("migrations", "migrations"),
        setup=module("setup", "api.setup"),
        workers=(
            *(module(name, "worker", env=worker_env) for name in names),
            *([module("trainer", "worker", "--trainer", env=trainer_env)] if options.trainer else []),
            module("maintenance", "worker", "--maintenance", env={"OMP_NUM_THREADS": "1", **env}),
        ),
        # glibc gives each of the API's many threads a separate arena, whose memory is never returned.
        api=module("api", "api", env={"MALLOC_ARENA_MAX": "2", **env}, drain=15.0),
    )


def _environment(options: StackOptions, port: int, redis_url: str) -> dict[str, str]:
    foreign = {*OWN, *(f"INFERQ_{name}" for name in OWN)}
    env = {name: value for name, value in os.environ.items() if name not in foreign}
    env |= {
        data_dir.STACK_VARIABLE: str(options.data),
        "INFERQ_DATA": str(options.data),
        "INFERQ_HOST": options.host,
        "INFERQ_PORT": str(port),
        "DATABASE_URL": f"sqlite:///{options.data}/inferq.db",
        "REDIS_URL": redis_url,
        "STORAGE_URL": f"file://{options.data}/blobs",
        "PYTHONUNBUFFERED": "1",  # else the log would be empty until the part exits
    }
    if options.default_model:
        env["INFERQ_DEFAULT_MODEL"] = options.default_model
    return env


def start(plan: Plan, supervisor: Supervisor, progress: Callable[[str, str], None]) -> Decision:
    """Start all parts, wait until the stack is ready, and return the default model.

    `progress` is called with a name and a few words for each step that is done. Raises StartFailed, CannotStart if the
    stack refuses to listen, and KeyboardInterrupt if a stop is requested meanwhile.
    """
    # Each worker and trainer takes seconds of a core to import torch. In parallel they would delay each other; a single
    # worker is ready sooner, and with it the service.
    first, other_workers = (plan.workers[0], plan.workers[-1]), plan.workers[1:-1]
    if plan.valkey:
        supervisor.start(plan.valkey)
        _wait(supervisor, lambda: valkey.is_ready(plan.redis_url), plan.valkey, "does not answer")
        progress("valkey", plan.redis_url.rpartition("@")[2].removesuffix("/0"))
    with _running(plan.migrations) as process:
        _finish(supervisor, plan.migrations, process)
    progress("database", str(plan.data / "inferq.db"))
    with _running(plan.setup) as process:
        supervisor.start(*first)
        decision = _decision(plan, _finish(supervisor, plan.setup, process))
    supervisor.start(plan.api)
    _wait(supervisor, lambda: status(f"{plan.url}/healthz") == 200, plan.api, "does not answer /healthz")
    progress("api", plan.url)
    _wait(supervisor, lambda: status(f"{plan.url}/readyz") == 200, plan.workers[0], "is not ready")
    supervisor.start(*other_workers, beside=first[0])  # stopped with the first worker, after the API
    progress(
        "workers",
        f"{first[0].name}, {first[1].name}"
        + (f"; starting {', '.join(part.name for part in other_workers)}" if other_workers else ""),
    )
    return decision


def _wait(supervisor: Supervisor, until: Callable[[], bool], part: Part, complaint: str) -> None:
    if supervisor.watch(until, START_LIMIT):
        return
    if supervisor.stopping:
        raise KeyboardInterrupt
    raise StartFailed(f"{part.name} {complaint} after {START_LIMIT:g} s: {last_line(part.log)} (log: {part.log})")


@contextlib.contextmanager
def _running(part: Part) -> Iterator[subprocess.Popen[bytes]]:
    """Run a one-shot process: its stderr goes to its log, its stdout to a pipe; it is killed at the end of the
    block."""
    process = spawn(part, stdout=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        with process:  # closes the pipe, and waits
            pass


def _finish(supervisor: Supervisor, part: Part, process: subprocess.Popen[bytes]) -> str:
    """Wait for a one-shot process and return its output; on exit status 2, CannotStart has the reason from its last
    line."""
    _wait(supervisor, lambda: process.poll() is not None, part, "is not done")
    printed = process.stdout.read().decode(errors="replace") if process.stdout else ""
    if process.returncode == 2:
        raise CannotStart(last_line(part.log, limit=1000).removeprefix("inferq: "))
    if process.returncode != 0:
        raise StartFailed(f"{part.name} failed: {last_line(part.log)} (log: {part.log})")
    return printed


def _decision(plan: Plan, printed: str) -> Decision:
    try:
        output = json.loads(printed.strip().splitlines()[-1])
        return Decision(output["default_model"], output["why"])
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise StartFailed(f"setup does not say which model is the default (log: {plan.setup.log})") from error


def status(url: str) -> int:
    """Return the HTTP status of a GET, 0 if there is no answer. urllib, because httpx would double the start time of
    `up`."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never through a proxy to this machine
    try:
        with opener.open(url, timeout=2) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except (OSError, ValueError):
        return 0


def locked(url: str) -> bool:
    """Return True if the API at this URL requires a key from callers on this machine."""
    return status(f"{url}/v1/models") == 401


def free_port() -> int:
    """Return a TCP port on loopback on which no process listens at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def check_port(host: str, port: int) -> None:
    """Raise CannotStart with the reason if this address cannot be listened on."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # As the HTTP server does: connections of an earlier server that are still closing do not block the port.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen()
    except OSError as error:
        raise CannotStart(_why_not(host, port, error)) from error


def _why_not(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is taken; stop what uses it, or choose another one with --port"
    if error.errno == errno.EACCES:
        return f"port {port} needs more rights than you have; choose one above 1023 with --port"
    return f"cannot listen on {host}: {error.strerror}; choose an address of this machine with --host"


def _reachable(host: str) -> str:
    """Return the host under which this machine can reach the server; a server on every address is reached on
    loopback."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104 - not listened on
    return f"[{host}]" if ":" in host else host
