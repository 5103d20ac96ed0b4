"""Packs real archives in memory, for the tests of those who read them."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable
from typing import Any

Files = list[tuple[str, bytes]]
Pack = Callable[[Files], bytes]


def as_zip(files: Files) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files:
            archive.writestr(name, data)
    return out.getvalue()


def as_tar(files: Files, mode: Any = "w", **options: Any) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode, **options) as archive:
        for name, data in files:
            info = tarfile.TarInfo(name.rstrip("/"))
            info.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def as_tbz(files: Files) -> bytes:
    return as_tar(files, "w:bz2")


def as_txz(files: Files) -> bytes:
    return as_tar(files, "w:xz")


def as_tgz(files: Files) -> bytes:
    return as_tar(files, "w:gz")
