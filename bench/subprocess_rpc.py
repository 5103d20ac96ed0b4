"""A process of the benchmark's own, asked in lines of JSON: the load and the limit never share one with the rest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any


class HelperDied(Exception):
    """A process of the benchmark ended before it answered."""


class Helper:
    """`python -m MODULE`, kept running between questions. Close it, or use it in a `with`."""

    def __init__(self, module: str, *arguments: str, env: Mapping[str, str] | None = None) -> None:
        self._module = module
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **(env or {})},
            start_new_session=True,  # Ctrl-C is for the benchmark itself, which then closes this
        )

    def __enter__(self) -> Helper:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, **question: Any) -> Any:
        """Put a question and wait for its answer; raises HelperDied."""
        self.begin(**question)
        return self.answer()

    def begin(self, **question: Any) -> None:
        """Put a question without waiting, so that several helpers can work at once."""
        assert self.process.stdin
        try:
            self.process.stdin.write(json.dumps(question) + "\n")
            self.process.stdin.flush()
        except OSError as error:
            raise HelperDied(f"{self._module} has ended") from error

    def answer(self) -> Any:
        """The answer to what `begin` asked; raises HelperDied."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise HelperDied(f"{self._module} ended without an answer; see above")
        return json.loads(line)

    def close(self) -> None:
        """End the process, whatever it is doing."""
        self.process.kill()
        with self.process:
            pass


def serve(answer: Callable[[dict[str, Any]], Any]) -> None:
    """The other side: answer one question per line until the benchmark closes the pipe."""
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)
