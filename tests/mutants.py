"""A sample of mutants: one small fault in the code at a time, which at least one test should notice.

    make mutants                                    the sample whose score is in docs/mutations.md
    make mutants ARGS="--count 20 --seed 7"         another one
    make mutants ARGS="--only shared/domain/jobs"   of some modules

Cosmic Ray makes the mutants, in a copy of the repository, and for each one the tests of its module run until the first
fails. It lives in a virtual environment of its own, and this file runs in that; the tests run in `.venv`.

Left out are operators whose mutants say nothing: `|` stands in annotations only, and members of enums and short strings
are identical when they are equal.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import cache_from_source
from pathlib import Path
from queue import Queue

from cosmic_ray import plugins
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code

ROOT = Path(__file__).parent.parent
TESTS = {
    "shared/domain/archive_layout.py": "unit/test_archive_layout integration/test_dataset_import",
    "shared/domain/comparisons.py": "integration/test_promotions integration/test_trainings",
    "shared/domain/datasets.py": "integration/test_datasets integration/test_trainings integration/test_dataset_import",
    "shared/domain/fair_order.py": "unit/test_fair_order",
    "shared/domain/jobs.py": "unit/test_jobs integration/test_jobs integration/test_database",
    "shared/domain/keys.py": "unit/test_keys integration/test_accounts",
    "shared/domain/models.py": "integration/test_model_names integration/test_promotions",
    "shared/domain/pictures.py": "unit/test_images",
    "shared/domain/preprocessing.py": "unit/test_preprocessing",
    "shared/domain/promotions.py": "integration/test_promotions",
    "shared/domain/splits.py": "unit/test_splits",
    "shared/domain/stored_images.py": "",
    "shared/domain/stream_entry.py": "integration/test_queue",
    "shared/domain/trainings.py": "unit/test_trainings integration/test_trainings",
    "shared/domain/webhooks.py": "unit/test_webhooks integration/test_webhook_deliveries",
    "shared/services/jobs.py": "integration/test_jobs integration/test_maintenance",
}
"""Module -> its tests that need no server, the fastest first, behind those of `EACH`."""
EACH = "unit/test_domain "
UNTOLD = re.compile(r"BitOr_|(Eq|Lt|LtE|Gt|GtE)_Is(Not)?$|(Is|IsNot)_(?!Is)")
SERVER = """
import json, os, signal, sys
import alembic.command, celery, fakeredis, flask, fsspec, httpx, kombu, limits.storage, numpy, PIL.Image, pytest, redis
import sqlalchemy.orm, sklearn.datasets, uuid6

for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        signal.alarm(120)
        os.dup2(os.dup2(os.open(os.devnull, os.O_WRONLY), 1), 2)
        os._exit(pytest.main(json.loads(line)))
    print(os.waitpid(pid, 0)[1], flush=True)
"""
"""Runs pytest in a fork for each line of arguments, and answers with its status; a test that hangs is killed."""


@dataclass(frozen=True)
class Mutant:
    """One fault: the n-th place at which an operator can change a module."""

    module: str
    operator: str
    occurrence: int
    line: int

    def code(self, source: str) -> str:
        mutated = mutate_code(source, plugins.get_operator(self.operator)(), self.occurrence)
        assert mutated is not None
        return str(mutated)

    @property
    def compiles(self) -> bool:
        """False where the operator took the `*` before keyword-only arguments for a multiplication."""
        try:
            compile(self.code((ROOT / self.module).read_text()), self.module, "exec")
        except SyntaxError:
            return False
        return True

    def __str__(self) -> str:
        source = (ROOT / self.module).read_text()
        before, after = source.splitlines(), self.code(source).splitlines()
        changed = next((pair for pair in zip(before, after, strict=False) if pair[0] != pair[1]), ("", ""))
        return f"{self.module}:{self.line} {self.operator.removeprefix('core/')}\n  - {changed[0]}\n  + {changed[1]}"


def mutants(module: str) -> Iterator[Mutant]:
    """All mutants of a module, in a fixed order."""
    tree = get_ast((ROOT / module).read_text())
    for name in sorted(plugins.operator_names()):
        kind = plugins.get_operator(name)
        if UNTOLD.search(name) or kind.arguments():
            continue
        places = (place for node in ast_nodes(tree) for place in kind().mutation_positions(node))
        for occurrence, (start, _) in enumerate(places):
            yield Mutant(module, name, occurrence, start[0])


class Copy:
    """A copy of the repository, and a process that runs tests in it.

    The process has imported all libraries and nothing of the repository, and forks for each run: to start Python and
    import them takes longer than most tests.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(".*", "__pycache__", "build"))
        env = {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"}
        command = [str(ROOT / ".venv/bin/python"), "-c", SERVER]
        self._server = subprocess.Popen(command, cwd=folder, env=env, stdin=-1, stdout=-1, text=True)

    def survives(self, mutant: Mutant) -> bool:
        """Whether all tests of its module pass with it."""
        file = self._folder / mutant.module
        source = file.read_text()
        try:
            _write(file, mutant.code(source))
            return self.passes(mutant.module)
        finally:
            _write(file, source)

    def passes(self, module: str) -> bool:
        """Whether the tests of a module pass; tests that hang count as failed."""
        tests = [f"tests/{name}.py" for name in (EACH + TESTS[module]).split()]
        # Preprocessing needs torch and nothing else that is slow.
        marks = "not redis and not postgres" + ("" if module.endswith("preprocessing.py") else " and not slow")
        assert self._server.stdin
        assert self._server.stdout
        self._server.stdin.write(json.dumps(["-qx", "-p", "no:cacheprovider", "-m", marks, *tests]) + "\n")
        self._server.stdin.flush()
        return self._server.stdout.readline() == "0\n"

    def close(self) -> None:
        self._server.kill()
        self._server.wait()


def _write(file: Path, source: str) -> None:
    """Write a module, and remove its bytecode, which is compared by second and size only."""
    file.write_text(source)
    Path(cache_from_source(str(file))).unlink(missing_ok=True)


def run(sample: list[Mutant], processes: int) -> list[Mutant]:
    """The mutants that survive; so many at a time, each in a copy of its own."""
    free: Queue[Copy] = Queue()

    def with_copy(judge: Callable[[Copy], bool]) -> bool:
        copy = free.get()
        try:
            return judge(copy)
        finally:
            free.put(copy)

    def survives(mutant: Mutant) -> bool:
        survived = with_copy(lambda copy: copy.survives(mutant))
        print(f"\n{mutant}" if survived else ".", end="", flush=True)
        return survived

    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(processes) as pool:
        copies = [Copy(Path(folder) / str(number)) for number in range(processes)]
        for copy in copies:
            free.put(copy)
        try:
            modules = sorted({mutant.module for mutant in sample})
            green = pool.map(lambda module: with_copy(lambda copy: copy.passes(module)), modules)
            if red := [module for module, passed in zip(modules, green, strict=True) if not passed]:
                sys.exit(f"without a mutant, the tests of these modules fail: {', '.join(red)}")
            return [mutant for mutant, survived in zip(sample, pool.map(survives, sample), strict=True) if survived]
        finally:
            for copy in copies:
                copy.close()


def main() -> None:
    """Draw the sample, try it, and print survivors and score."""
    parser = argparse.ArgumentParser(description="Try a sample of mutants.")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", default="", help="part of the paths of the modules to mutate")
    arguments = parser.parse_args()
    population = [mutant for module in sorted(TESTS) if arguments.only in module for mutant in mutants(module)]
    drawn = random.Random(arguments.seed).sample(population, min(arguments.count, len(population)))
    sample = [mutant for mutant in drawn if mutant.compiles]
    survivors = run(sample, arguments.processes)
    killed = len(sample) - len(survivors)
    print(f"\n{killed} of {len(sample)} killed ({killed / len(sample):.1%}); {len(population)} mutants are possible")


if __name__ == "__main__":
    main()
