"""The contestants of a comparison: each starts its service, lets it be measured, and stops it again.

Each is started anew in every round, and nothing else runs beside it: servers that wait cost CPU as well, and some of
them more than others.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from bench.comparison.result import Once
from bench.measure import Pids
from bench.models import Model, register, wait_for_workers, warm_up
from bench.peers import Peer, environments, process
from bench.service import Service, measure_own
from bench.subprocess_rpc import Helper
from inferq.client import Client
from inferq.stack import stack, valkey

_BROKER_LIMIT = 10.0
_READY = {"concurrency": 8, "warmup": 0.0, "seconds": 1.0}
"""The load that every worker of a service has answered once it counts as ready."""
_ALL = 1_000_000


@dataclass(frozen=True)
class Running:
    """A service that runs, and how it is loaded."""

    load: Helper
    question: Mapping[str, Any]
    """What every question to `load` has."""
    pids: Pids

    def ask(self, **question: Any) -> dict[str, Any]:
        """Put a load on the service and return what was measured."""
        pids = {**self.pids, "client": [self.load.process.pid]}
        answer: dict[str, Any] = self.load.ask(**{"pids": pids, **self.question, **question})
        return answer


Measure = Callable[[Running], None]


class Contestant(Protocol):
    """What takes part in the rounds."""

    @property
    def name(self) -> str: ...
    @property
    def setting(self) -> str: ...
    @property
    def sections(self) -> Sequence[str]: ...
    def visit(self, measure: Measure) -> None:
        """Start, call `measure`, stop; raises CannotInstall, CannotStart or InferqError."""


@dataclass(frozen=True)
class Own:
    """inferq itself; without a model it answers with `digits`, which it brings with it."""

    name: str
    data: Path
    workers: int
    sections: Sequence[str]
    pictures: Path
    model: Model | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    checks: Callable[[Once], None] | None = None
    """Receives the comparison of the answered with the listed jobs; the data folder is then new for every visit."""
    database: Callable[[], AbstractContextManager[str]] | None = None
    """Yields the URL of a database that is new for every visit, as the data folder is: the service refuses an empty
    folder for a database that knows pictures. None is SQLite in the data folder."""

    @property
    def setting(self) -> str:
        """Workers × threads of each."""
        return f"{self.workers} × {max(1, stack.cores() // self.workers)}"

    def visit(self, measure: Measure) -> None:
        """Start a stack, register the model if needed, wait until its runtime is chosen, and measure."""
        if self.checks:
            shutil.rmtree(self.data, ignore_errors=True)
        options = stack.StackOptions(self.data, port=0, workers=self.workers, trainer=False, default_model="digits")
        with ExitStack() as databases, ExitStack() as helpers:
            url = {"DATABASE_URL": databases.enter_context(self.database())} if self.database else {}
            measure_own(
                options, lambda service: self._measure(service, measure, helpers),
                environment={**self.environment, **url}, stopping=helpers.close,
            )  # fmt: skip

    def _measure(self, service: Service, measure: Measure, helpers: ExitStack) -> None:
        with Client(service.url, service.key, timeout=120.0) as client:
            wait_for_workers(client, self.workers)
            model = register(client, self.model) if self.model else "digits"
            warm_up(client, model, self.pictures)
            load = helpers.enter_context(loader(service.url, model, self.pictures, service.key))
            answered: list[str] = []
            running = Counted(load, {"way": "synchronous", "ids": bool(self.checks)}, service.pids, answered)
            running.ask(**_READY)
            measure(running)
            if self.checks:
                self.checks(_compare(self.name, answered, client))


@dataclass(frozen=True)
class Counted(Running):
    """A service whose answered jobs are collected."""

    answered: list[str] = field(default_factory=list)

    def ask(self, **question: Any) -> dict[str, Any]:
        """Put a load on the service and return what was measured."""
        answer = super().ask(**question)
        self.answered.extend(answer.pop("jobs", ()))
        return answer


@dataclass(frozen=True)
class Other:
    """A peer with one of its settings; without a model it only reads its requests."""

    name: str
    peer: Peer
    workers: int
    threads: int
    sections: Sequence[str]
    folder: Path
    """For its log, and whatever it writes to the current folder."""
    pictures: Path
    model: Model | None
    noted: dict[str, str]
    """Receives the versions of what is installed."""

    @property
    def setting(self) -> str:
        """Workers × threads of each."""
        return f"{self.workers} × {self.threads}"

    def visit(self, measure: Measure) -> None:
        """Install the peer if needed, start it, wait until it answers, and measure."""
        python = environments.create(self.peer.module.removesuffix("_server"), self.peer.requirements)
        self.noted.update(environments.versions(python, (*self.peer.distributions, *environments.SHARED)))
        port = stack.free_port()
        with ExitStack() as running:
            redis = running.enter_context(_broker()) if self.peer.needs_redis else None
            settings = {
                "PEER_PORT": str(port),
                "PEER_WORKERS": str(self.workers),
                "PEER_THREADS": str(self.threads),
                "OMP_NUM_THREADS": str(self.threads),
                "PEER_ARCHITECTURE": self.model.architecture if self.model else "",
                "PEER_WEIGHTS": str(self.model.weights) if self.model else "",
                "PEER_REDIS": redis.url if redis else "",
            }
            module = f"bench.peers.servers.{self.peer.module}"
            server = running.enter_context(process.running(python, module, settings, self.folder))
            load = running.enter_context(loader(f"http://127.0.0.1:{port}", "", self.pictures))
            pids = {"server": [server.pid], **({"valkey": [redis.pid]} if redis else {})}
            question = {"way": "peer", "path": self.peer.path, "body": self.peer.body}
            process.wait_until_ready(server, load, {**question, **_READY, "pids": {}}, self.folder / "server.log")
            measure(Running(load, question, pids))


def loader(url: str, model: str, pictures: Path, key: str = "") -> Helper:
    """Return the process that loads a service."""
    return Helper("bench.load", url, model, str(pictures), env={"INFERQ_KEY": key})


@dataclass(frozen=True)
class _Broker:
    """A Redis server, as a tutorial starts one."""

    url: str
    pid: int


@contextmanager
def _broker() -> Iterator[_Broker]:
    """Run a Redis server that keeps nothing on disk during the block."""
    port = stack.free_port()
    command = [valkey.binary(), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    url = f"redis://127.0.0.1:{port}/0"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True) as server:
        try:
            until = time.monotonic() + _BROKER_LIMIT
            while not valkey.is_ready(url):
                if time.monotonic() > until:
                    raise process.CannotStart("Valkey does not answer")
                time.sleep(0.05)
            yield _Broker(url, server.pid)
        finally:
            server.kill()


def _compare(contestant: str, answered: Sequence[str], client: Client) -> Once:
    """Compare the ids of the answered jobs with the list of jobs."""
    jobs = client.jobs.list(limit=_ALL)
    listed = [job.id for job in jobs]
    return Once(
        contestant,
        answered=len(answered),
        listed=len(listed),
        missing=len(set(answered) - set(listed)),
        repeated=len(answered) - len(set(answered)) + len(listed) - len(set(listed)),
        unfinished=sum(
            job.status != "DONE" or job.progress.done != job.progress.total or job.progress.failed > 0 for job in jobs
        ),
    )
