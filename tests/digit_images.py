"""Real labelled pictures for tests that train: scikit-learn's handwritten digits, as small PNG files.

`python -m tests.digit_images numbers.tgz` writes an archive to try training with: 40 pictures each of three digits. A
number after it, as in `more.tgz 40`, leaves out that many pictures of each, so that the archive holds others.
"""

from __future__ import annotations

import io
import sys
import tarfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@cache
def pictures(digit: int) -> tuple[bytes, ...]:
    """Return PNGs of one digit, 32 pixels wide, each in another handwriting."""
    pixels, answers = load_digits(return_X_y=True)
    return tuple(_png(row) for row in pixels[answers == digit])


def _png(row: np.ndarray) -> bytes:
    file = io.BytesIO()
    small = Image.fromarray((row.reshape(8, 8) * 255 / 16).round().astype(np.uint8))
    small.resize((32, 32), Image.Resampling.BICUBIC).save(file, "PNG")
    return file.getvalue()


def files(counts: Mapping[int, int], start: int = 0) -> dict[str, bytes]:
    """`LABEL/NUMBER.png` -> bytes; digit -> how many pictures of it, from number `start` on."""
    return {
        f"{WORDS[digit]}/{number}.png": pictures(digit)[number]
        for digit, count in counts.items()
        for number in range(start, start + count)
    }


def archive(members: Mapping[str, bytes]) -> bytes:
    """Return the files as a tar.gz."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return file.getvalue()


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3) or sys.argv[1].startswith("-") or not all(map(str.isdecimal, sys.argv[2:])):
        sys.exit("usage: python -m tests.digit_images FILE.tgz [LEAVE_OUT]")
    leave_out = int(sys.argv[2]) if len(sys.argv) == 3 else 0
    Path(sys.argv[1]).write_bytes(archive(files({3: 40, 5: 40, 8: 40}, start=leave_out)))
