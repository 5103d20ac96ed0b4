"""Libraries that the tests load into processes before libc, to change their clock or to record what they write."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.needed import CI, missing


def compiled(name: str, folder: Path) -> Path:
    """Compile NAME.c into a library in the folder, for LD_PRELOAD; skip the test where that cannot be done, and fail it
    if that is Linux and CI is set."""
    if sys.platform != "linux":
        pytest.skip("Linux is needed, for LD_PRELOAD")
    compiler = shutil.which("cc")
    if not compiler:
        missing("a C compiler")
    library = folder / f"{name}.so"
    source = Path(__file__).parent / f"{name}.c"
    command = [compiler, "-O1", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl", "-lpthread"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        (pytest.fail if CI else pytest.skip)(f"{source.name} cannot be compiled: {done.stderr}")
    return library
