"""Loaded by every Python that has this folder on its path: a marked picture kills the worker that decodes it."""

import os
import signal
import sys
from typing import Any

import PIL.Image

_open = PIL.Image.open
MARK = b"this one kills"


def open_or_kill(fp: Any, *args: Any, **kwargs: Any) -> Any:
    """Open a picture as Pillow does; kill the process if it is a worker and the picture is the marked one."""
    in_worker = sys.argv[0].endswith(os.path.join("worker", "__main__.py"))
    if in_worker and hasattr(fp, "getvalue") and fp.getvalue().endswith(MARK):
        os.kill(os.getpid(), signal.SIGKILL)
    return _open(fp, *args, **kwargs)


PIL.Image.open = open_or_kill
