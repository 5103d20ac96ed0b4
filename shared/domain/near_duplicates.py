"""Near-duplicates are pictures with similar fingerprints: copies that were compressed, resized or cropped a little.

A fingerprint has 64 bits (shared/imaging/fingerprints.py). Two are near if at most DISTANCE of them differ; a group
holds all that are connected by near ones. Fingerprints are divided into four parts of 16 bits: if at most seven bits
differ, then at most one of them in some part, so that only fingerprints that share a part, or have it with one bit
changed, are compared. That finds all near ones among 100,000 in seconds, of five billion pairs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shared.domain.datasets import DatasetExample

DISTANCE = 5
"""The most bits in which near-duplicates differ; docs/decisions/0039-near-duplicates.md has the measurement."""
FARTHEST = 7
"""The largest distance that the parts of a fingerprint allow to look for."""
PLAIN = 0
"""The fingerprint of a picture that is too plain to be compared, such as one of a single colour."""

_LARGEST = 0.1
_SMALL = 10
"""The share of all pictures that one group may have, and the number that it may have in any case."""

_PARTS = (0, 16, 32, 48)
_PART = 0xFFFF
_ALL = 0xFFFF_FFFF_FFFF_FFFF
_CHANGES = (0, *(1 << bit for bit in range(16)))


@dataclass(frozen=True)
class NearDuplicates:
    """The near-duplicates among the examples of a dataset."""

    groups: tuple[tuple[DatasetExample, ...], ...]
    """Those with several labels first, then the largest first."""
    uncompared: int
    """Examples without a fingerprint."""


def among(examples: Sequence[DatasetExample], distance: int = DISTANCE) -> NearDuplicates:
    """Return the groups of near-duplicates among these examples."""
    marks = [example.fingerprint for example in examples]
    found = [tuple(examples[position] for position in group) for group in groups(marks, distance)]
    found.sort(key=lambda group: (len({example.label_id for example in group}) == 1, -len(group)))
    return NearDuplicates(tuple(found), sum(mark is None for mark in marks))


def groups(fingerprints: Sequence[int | None], distance: int = DISTANCE) -> list[list[int]]:
    """Return the groups of two or more near-duplicates, as positions in `fingerprints`, each in ascending order.

    A picture without a fingerprint, and a plain one, is in no group. `distance` is FARTHEST at most. Where pictures are
    alike without being copies, as those of one machine part, or digits in a frame, chains of near ones would connect
    most of them; so the distance is lowered until no group is larger than `_LARGEST` of all pictures.
    """
    if distance > FARTHEST:
        raise ValueError(f"a distance of more than {FARTHEST} bits would not be found")
    positions: dict[int, list[int]] = defaultdict(list)
    for position, fingerprint in enumerate(fingerprints):
        if fingerprint:
            positions[fingerprint & _ALL].append(position)
    most = max(_SMALL, _LARGEST * len(fingerprints))
    for lowered in range(distance, 0, -1):
        joined = _join(positions, lowered, most)
        if joined is not None:
            return _groups(positions, joined)
    return _groups(positions, {fingerprint: fingerprint for fingerprint in positions})


def _groups(positions: Mapping[int, list[int]], joined: Mapping[int, int]) -> list[list[int]]:
    """Return the positions of fingerprints with the same representative, if there are several."""
    found: dict[int, list[int]] = defaultdict(list)
    for fingerprint, same in positions.items():
        found[joined[fingerprint]] += same
    return sorted(sorted(group) for group in found.values() if len(group) > 1)


def _join(positions: Mapping[int, list[int]], distance: int, most: float) -> dict[int, int] | None:
    """Return a representative for each fingerprint, the same for all that are connected by distances of at most
    `distance` bits; None as soon as more than `most` pictures are connected: where pictures are alike, to look at all
    pairs would take minutes."""
    above = {fingerprint: fingerprint for fingerprint in positions}
    sizes = {fingerprint: len(same) for fingerprint, same in positions.items()}
    if max(sizes.values(), default=0) > most:
        return None

    def top(fingerprint: int) -> int:
        while above[fingerprint] != fingerprint:
            above[fingerprint] = fingerprint = above[above[fingerprint]]
        return fingerprint

    for shift in _PARTS:
        by_part: dict[int, list[int]] = defaultdict(list)
        for fingerprint in positions:
            part = fingerprint >> shift & _PART
            for change in _CHANGES:
                for other in by_part.get(part ^ change, ()):
                    if (fingerprint ^ other).bit_count() <= distance and (mine := top(fingerprint)) != (
                        its := top(other)
                    ):
                        above[mine] = its
                        sizes[its] += sizes[mine]
                        if sizes[its] > most:
                            return None
            by_part[part].append(fingerprint)
    return {fingerprint: top(fingerprint) for fingerprint in positions}
