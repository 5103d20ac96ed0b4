"""Libraries that the tests load into processes before libc, to change their clock or to record what they write."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def compiled(name: str, folder: Path) -> Path:
    """Compile NAME.c into a library in the folder, for LD_PRELOAD; skip the test where that cannot be done.

    On a machine that has a compiler the test fails if CI is set, since the source is at fault then.
    """
    compiler = shutil.which("cc")
    if sys.platform != "linux" or not compiler:
        pytest.skip("a C compiler on Linux is needed")
    library = folder / f"{name}.so"
    source = Path(__file__).parent / f"{name}.c"
    command = [compiler, "-O1", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl", "-lpthread"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{source.name} cannot be compiled: {done.stderr}")
    return library
