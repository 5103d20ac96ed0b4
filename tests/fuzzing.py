"""How much the generated tests try: the same few examples at every run, or many new ones for `make audit`."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, Verbosity, settings
from hypothesis import strategies as st

FACTOR = int(os.environ.get("INFERQ_TEST_FUZZING", "1"))
"""How many times the usual number of examples is tried; with 1, they are the same at every run."""


def examples(count: int, *, shrink: bool = True) -> settings:
    """Return the settings of a test that tries `count` examples, or FACTOR times as many.

    No time is taken of an example, since machines are busy, and none is kept: what was found gets a test with a name.
    """
    return settings(
        max_examples=count * FACTOR,
        derandomize=FACTOR == 1,
        database=None,
        deadline=None,
        print_blob=True,
        verbosity=Verbosity.normal,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate, *([Phase.shrink] if shrink else [])],
    )


@st.composite
def damaged(draw: st.DrawFn, whole: st.SearchStrategy[bytes], others: st.SearchStrategy[bytes] | None = None) -> bytes:
    """Return a file with bytes flipped, cut off or out, doubled, or with a piece of another file put in."""
    data = bytearray(draw(whole))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        size = draw(st.integers(1, 40))
        match draw(st.sampled_from(("flip", "number", "end", "out", "twice", "splice", "insert"))):
            case "flip" if data:
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "number":  # lengths, offsets and sizes are where readers go wrong
                data[at : at + 4] = draw(st.sampled_from(_NUMBERS))
            case "end":
                del data[at:]
            case "out":
                del data[at : at + size]
            case "twice":
                data[at:at] = data[at : at + size]
            case "splice":
                other = draw(whole if others is None else others)
                data[at:] = other[draw(st.integers(0, len(other))) :]
            case "insert":
                data[at:at] = draw(st.binary(max_size=size))
    return bytes(data)


_NUMBERS = (
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\x80\0\0\0",
    b"\0\0\0\x80",
    b"\1\0\0\0",
)
