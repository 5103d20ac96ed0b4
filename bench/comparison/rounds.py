"""The rounds of a comparison: every contestant in every round, each time in another order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from bench import measure
from bench.comparison.contestants import Contestant, Running
from bench.comparison.result import ARCHIVE, HARDLY, PHOTOS, PICTURES, Comparison, Sample
from bench.peers.environments import CannotInstall
from bench.peers.process import CannotStart
from bench.result import Percentiles
from bench.subprocess_rpc import HelperExited
from inferq.errors import InferqError

T = TypeVar("T")


@dataclass(frozen=True)
class Effort:
    """How long the measurements of a comparison take."""

    rounds: int = 3
    seconds: float = 6.0
    warmup: float = 1.5
    archive: int = 5000
    callers: Mapping[str, Sequence[int]] | None = None

    def callers_of(self, section: str) -> Sequence[int]:
        """Return how many callers there are at once, one number after another."""
        return (self.callers or CALLERS)[section]


CALLERS: Mapping[str, Sequence[int]] = {PICTURES: (1, 16, 64), PHOTOS: (1, 16), HARDLY: (1, 16, 64, 256), ARCHIVE: (1,)}
QUICK = Effort(rounds=1, seconds=3.0, warmup=1.0, archive=1000)


def order(contestants: Sequence[T], number: int) -> list[T]:
    """Return the contestants in the order of a round: each begins one round, and every second round runs backwards.

    A machine that grows slower during a round would otherwise always hurt the same contestants.
    """
    first = number % len(contestants) if contestants else 0
    turned = [*contestants[first:], *contestants[:first]]
    return turned[::-1] if number % 2 else turned


class Rounds:
    """Measures contestants and adds their samples to a comparison; `say` is called with a line for each point."""

    def __init__(self, result: Comparison, effort: Effort, folders: Mapping[str, Path], say: Callable[[str], None]):
        """`folders` has the pictures of each section, and the file of the archive."""
        self._result = result
        self._effort = effort
        self._folders = folders
        self._say = say

    def run(self, contestants: Sequence[Contestant]) -> None:
        """Run all rounds. A contestant that cannot be measured is left out from then on, with its reason."""
        for number in range(self._effort.rounds):
            for contestant in order(contestants, number):
                label = f"{contestant.name} {contestant.setting}"
                if label in self._result.left_out:
                    continue
                self._say(f"round {number + 1} of {self._effort.rounds}: {label}")
                try:
                    contestant.visit(self._visitor(contestant))
                except (CannotInstall, CannotStart, HelperExited, InferqError, OSError) as error:
                    self._result.left_out[label] = str(error)
                    self._say(f"left out: {error}")

    def _visitor(self, contestant: Contestant) -> Callable[[Running], None]:
        def visit(running: Running) -> None:
            for section in contestant.sections:
                for callers in self._effort.callers_of(section):
                    sample = self._sample(running, section, callers)
                    self._result.add(section, contestant.name, contestant.setting, callers, sample)
                    self._say(f"  {section}, {callers} at once: {sample.rate:.1f}/s")

        return visit

    def _sample(self, running: Running, section: str, callers: int) -> Sample:
        if section == ARCHIVE:
            answer = running.ask(way="archive", archive=str(self._folders[ARCHIVE]))
            return sample(answer, running, pictures=self._effort.archive)
        answer = running.ask(
            concurrency=callers, warmup=self._effort.warmup, seconds=self._effort.seconds,
            folder=str(self._folders[section]),
        )  # fmt: skip
        return sample(answer, running)


def sample(answer: Mapping[str, Any], running: Running, pictures: int | None = None) -> Sample:
    """Return what a load has measured; `pictures` is their number if a request carries more than one."""
    latencies: list[float] = answer["latencies"]
    done = (pictures if latencies else 0) if pictures is not None else len(latencies)
    roots = [pid for pids in running.pids.values() for pid in pids]
    return Sample(
        rate=done / answer["seconds"],
        latency=Percentiles.of(latencies) if latencies else None,
        cpu_ms={part: 1000 * used / max(1, done) for part, used in answer["cpu"].items()},
        memory=sum(int(str(row["rss"])) for row in measure.memory(roots)),
        others=answer["others"],
        errors=answer["errors"],
        first_error=next(iter(answer["first_errors"]), ""),
    )
