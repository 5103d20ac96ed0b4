"""Helper processes that answer questions in lines of JSON, so that load and limit run in separate processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any


class HelperExited(Exception):
    """A helper process exited before it answered."""


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
            start_new_session=True,  # Ctrl-C must reach only the benchmark, which then closes the helper
        )

    def __enter__(self) -> Helper:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, **question: Any) -> Any:
        """Send a question and return its answer; raises HelperExited."""
        self.begin(**question)
        return self.answer()

    def begin(self, **question: Any) -> None:
        """Send a question without waiting, so that several helpers can work at once; raises HelperExited."""
        assert self.process.stdin
        try:
            self.process.stdin.write(json.dumps(question) + "\n")
            self.process.stdin.flush()
        except OSError as error:
            raise HelperExited(f"{self._module} has ended") from error

    def answer(self) -> Any:
        """Wait for the answer to the question of `begin` and return it; raises HelperExited."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise HelperExited(f"{self._module} ended without an answer; see above")
        return json.loads(line)

    def close(self) -> None:
        """Kill the process."""
        self.process.kill()
        with self.process:
            pass


def serve(answer: Callable[[dict[str, Any]], Any]) -> None:
    """Answer one question per line of stdin until the benchmark closes the pipe; this runs in the helper process."""
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)
