"""One comparison in its order: the material, the rounds of the contestants, then the loads that only inferq bears."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from bench import material
from bench.comparison import loads
from bench.comparison.contestants import Contestant, Other, Own
from bench.comparison.result import (
    ARCHIVE,
    DIGITS,
    DIGITS_POSTGRES,
    HARDLY,
    INFERQ,
    INFERQ_FAST,
    NO_OP,
    PHOTOS,
    PICTURES,
    Comparison,
)
from bench.comparison.rounds import Effort, Rounds
from bench.material import DIGITS as SAMPLES
from bench.models import Model
from bench.peers import LITSERVE, PEERS
from inferq.errors import InferqError
from inferq.stack import stack

PHOTO_COUNT = 3
Say = Callable[[str], None]


class Run:
    """One comparison in a scratch folder."""

    def __init__(self, scratch: Path, architecture: str, workers: int, effort: Effort, say: Say) -> None:
        self._scratch = scratch
        self._workers = workers
        self._effort = effort
        self._say = say
        self._folders = {
            PICTURES: scratch / "pictures",
            PHOTOS: scratch / "photos",
            HARDLY: SAMPLES,
            ARCHIVE: scratch / "archive.tar",
        }
        self._model = Model(
            architecture, scratch / "weights.safetensors", scratch / "labels.txt", self._folders[PICTURES]
        )

    def all(self, result: Comparison, parts: Sequence[str], weights: Path | None, postgres: str) -> Comparison:
        """Run the parts, fill the result in, and return it; raises InferqError and KeyboardInterrupt."""
        self._prepare(result, weights, photos="peers" in parts)
        contestants: list[Contestant] = []
        if "peers" in parts:
            contestants += self._contestants(result)
        if "digits" in parts:
            contestants += self._hardly_any_model(result, postgres)
        Rounds(result, self._effort, self._folders, self._say).run(contestants)
        own = loads.Loads(self._scratch, self._workers, self._effort, self._say)
        if "overload" in parts:
            result.overload = own.overload(self._model)
        if "waiting" in parts:
            result.waiting = own.waiting()
        if "devices" in parts:
            own.devices(result)
        return result

    def _prepare(self, result: Comparison, weights: Path | None, *, photos: bool) -> None:
        """Write pictures, archive, labels and weights; raises InferqError."""
        self._say("making pictures and weights")
        sizes, quality = [material.COMPARED], material.COMPARED_QUALITY
        written = material.pictures(self._folders[PICTURES], sizes=sizes, quality=quality)
        large = material.pictures(self._folders[PHOTOS], PHOTO_COUNT, [material.PHOTO], quality) if photos else []
        digits = sorted(SAMPLES.glob("*.png"))
        material.archive(self._folders[ARCHIVE], digits, self._effort.archive)
        material.labels(self._model.labels)
        result.material = {
            PICTURES: _about(written, material.COMPARED),
            **({PHOTOS: _about(large, material.PHOTO)} if photos else {}),
            HARDLY: _about(digits, (8, 8)),
            "archive": self._effort.archive,
            "weights": "given" if weights else "random",
        }
        if weights:
            shutil.copyfile(weights, self._model.weights)
            return
        command = [sys.executable, "-P", "-m", "bench.material", str(self._scratch), self._model.architecture]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise InferqError(f"no weights for {self._model.architecture}: {done.stderr.strip().splitlines()[-1]}")

    def _contestants(self, result: Comparison) -> list[Contestant]:
        """Return inferq, and every peer with one worker on all cores and with a worker for each core."""
        sections = (PICTURES, PHOTOS)
        cores = stack.cores()
        own = partial(
            Own, workers=self._workers, sections=sections, pictures=self._folders[PICTURES], model=self._model
        )
        ours = [
            own(INFERQ, self._scratch / "inferq"),
            own(INFERQ_FAST, self._scratch / "fast", environment={"INFERQ_PRECISION": "fast"}),
        ]
        others = [
            Other(
                peer.name, peer, workers, threads, sections, self._scratch / f"{peer.module}-{workers}",
                self._folders[PICTURES], self._model, result.versions,
            )
            for peer in PEERS
            for workers, threads in dict.fromkeys([(1, cores), (cores, 1)])
        ]  # fmt: skip
        return [*ours, *others]

    def _hardly_any_model(self, result: Comparison, postgres: str) -> list[Contestant]:
        """Return inferq with the model that costs least, on each database, and LitServe without any."""
        own = partial(Own, workers=self._workers, sections=(HARDLY, ARCHIVE), pictures=SAMPLES,
                      checks=result.once.append)  # fmt: skip
        contestants: list[Contestant] = [own(DIGITS, self._scratch / "digits")]
        try:
            result.versions |= settings(postgres)
            contestants.append(
                own(DIGITS_POSTGRES, self._scratch / "digits-postgres", database=partial(database, postgres))
            )
        except psycopg.Error as error:
            result.left_out[DIGITS_POSTGRES] = f"no PostgreSQL: {str(error).strip()}"
        contestants.append(
            Other(NO_OP, LITSERVE, stack.cores(), 1, (HARDLY,), self._scratch / "no-op", SAMPLES, None, result.versions)
        )
        return contestants


def settings(server: str) -> dict[str, str]:
    """Return the version of a PostgreSQL server, and the settings by which a commit survives a power cut; raises
    psycopg.Error."""
    with psycopg.connect(server) as connection:
        found: dict[str, str] = {}
        for setting in ("server_version", "fsync", "synchronous_commit"):
            row = connection.execute(f"SHOW {setting}").fetchone()
            found[f"PostgreSQL {setting}"] = str(row[0]) if row else ""
        return found


@contextlib.contextmanager
def database(server: str) -> Iterator[str]:
    """Create a database for the block and yield its URL; raises psycopg.Error."""
    name = f"inferq_bench_{os.getpid()}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        try:
            yield urlsplit(server)._replace(path=f"/{name}").geturl()
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _about(pictures: Sequence[Path], size: tuple[int, int]) -> dict[str, object]:
    total = sum(path.stat().st_size for path in pictures)
    return {"pictures": len(pictures), "size": "{}x{}".format(*size), "mean_bytes": total / len(pictures)}
