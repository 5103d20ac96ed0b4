"""Scratch folders hold what one check or conversion unpacks; those of a process that was killed are removed later."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NAME = re.compile(r"inferq-scratch-(\d+)-.*")


@contextmanager
def folder() -> Iterator[Path]:
    """Yield an empty folder that is removed at the end of the block."""
    with tempfile.TemporaryDirectory(prefix=f"inferq-scratch-{os.getpid()}-") as name:
        yield Path(name)


def remove_leftovers() -> None:
    """Remove the folders of processes of this machine that do not run any more; called when a worker starts."""
    for path in Path(tempfile.gettempdir()).glob("inferq-scratch-*"):
        found = _NAME.fullmatch(path.name)
        # One with the number of this process is of a predecessor in the same container: this one has made none yet.
        if found and (int(found[1]) == os.getpid() or not _is_running(int(found[1]))):
            shutil.rmtree(path, ignore_errors=True)


def _is_running(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
