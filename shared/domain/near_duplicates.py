"""Near-duplicates are pictures with similar fingerprints: copies that were compressed, resized or cropped a little.

A fingerprint has 64 bits (shared/imaging/fingerprints.py). Two are near if at most DISTANCE of them differ; a group
holds all that are connected by near ones. Fingerprints are divided into four parts of 16 bits: if at most seven bits
differ, then at most one of them in some part, so that only fingerprints that share a part, or have it with one bit
changed, are compared. Where many share a part, as pictures with a white margin do, the other parts divide them again.
That finds all near ones among 100,000 in seconds, of five billion pairs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations

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
_MANY = 100
"""Fingerprints with the same part from which the other parts divide them, instead of all being compared."""


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
    found.sort(key=lambda group: (len({example.all_labels for example in group}) == 1, -len(group)))
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

    index = _Index(_PARTS, distance)
    for fingerprint in positions:
        for other in index.near(fingerprint):
            if (mine := top(fingerprint)) != (its := top(other)):
                above[mine] = its
                sizes[its] += sizes[mine]
                if sizes[its] > most:
                    return None
        index.add(fingerprint)
    return {fingerprint: top(fingerprint) for fingerprint in positions}


class _Index:
    """Fingerprints by some of their parts, which finds those near to another one."""

    def __init__(self, parts: Sequence[int], distance: int) -> None:
        """`parts` are the positions of their lowest bits; the fingerprints may differ by `distance` bits in these."""
        self._parts, self._distance = parts, distance
        self._changes = _changes(distance // len(parts))
        self._kept: dict[int, dict[int, list[int] | _Index]] = {shift: {} for shift in parts}

    def add(self, fingerprint: int) -> None:
        """Keep a fingerprint."""
        for shift, kept in self._kept.items():
            part = fingerprint >> shift & _PART
            same = kept.setdefault(part, [])
            if isinstance(same, _Index):
                same.add(fingerprint)
                continue
            same.append(fingerprint)
            if len(same) > _MANY and len(self._parts) > 1:
                kept[part] = divided = _Index([other for other in self._parts if other != shift], self._distance)
                for each in same:
                    divided.add(each)

    def near(self, fingerprint: int) -> Iterator[int]:
        """Yield the kept fingerprints that are near, each once or several times."""
        for shift, kept in self._kept.items():
            part = fingerprint >> shift & _PART
            for change in self._changes:
                same = kept.get(part ^ change, ())
                if isinstance(same, _Index):
                    yield from same.near(fingerprint)
                    continue
                for other in same:
                    if (fingerprint ^ other).bit_count() <= self._distance:
                        yield other


@cache
def _changes(most: int) -> list[int]:
    """Return the parts that have at most `most` bits, 0 first: what a part is combined with to change as many."""
    return [sum(1 << bit for bit in bits) for count in range(most + 1) for bits in combinations(range(16), count)]
