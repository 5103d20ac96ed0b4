"""Sizes as people read them: never more than there is, and exact where a limit is named."""

from __future__ import annotations

import pytest

from shared.domain.sizes import exactly, in_units


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 bytes"), (1, "1 byte"), (1023, "1023 bytes"), (1024, "1 KiB"), (1_572_864, "1.5 MiB"),
     (20 * 1024**3 - 1, "19.9 GiB"), (5 * 1024**5, "5120 TiB")],
)  # fmt: skip
def test_a_size_is_in_the_largest_unit_and_never_rounded_up(size: int, words: str) -> None:
    assert in_units(size) == words


@pytest.mark.parametrize(
    ("size", "words"),
    [(840, "840 bytes"), (32 * 1024**2, "32 MiB"), (1536, "1.5 KiB"), (10_000_000, "9.5 MiB (10,000,000 bytes)")],
)
def test_a_limit_that_is_no_round_number_also_names_its_bytes(size: int, words: str) -> None:
    assert exactly(size) == words
