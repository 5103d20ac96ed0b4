"""near_duplicates.py and fingerprints.py: copies of a picture are found, all of them, and others are not."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from itertools import combinations

import pytest
from PIL import Image, ImageDraw, ImageEnhance

from shared.domain import near_duplicates
from shared.domain.near_duplicates import DISTANCE, FARTHEST, PLAIN
from shared.imaging.fingerprints import fingerprint


def scene(seed: int) -> Image.Image:
    """Return a picture of blurred discs, which differ with the seed."""
    chance = random.Random(seed)
    image = Image.new("RGB", (320, 240), (chance.randrange(256), 90, 60))
    draw = ImageDraw.Draw(image)
    for _ in range(25):
        x, y, radius = chance.randrange(320), chance.randrange(240), chance.randrange(15, 70)
        colour = tuple(chance.randrange(256) for _ in range(3))
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    return image


def compressed(image: Image.Image, quality: int) -> Image.Image:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return Image.open(out).convert("RGB")


def connected(marks: list[int], distance: int) -> list[list[int]]:
    """Return the groups by comparing each pair."""
    group = list(range(len(marks)))
    for one, other in combinations(range(len(marks)), 2):
        if ((marks[one] ^ marks[other]) & (1 << 64) - 1).bit_count() <= distance:
            group = [group[one] if each == group[other] else each for each in group]
    found = [[place for place, own in enumerate(group) if own == each] for each in dict.fromkeys(group)]
    return sorted(each for each in found if len(each) > 1)


@pytest.mark.parametrize("distance", range(FARTHEST + 1))
def test_the_groups_are_those_that_comparing_every_pair_finds(distance: int) -> None:
    chance = random.Random(distance)
    marks: list[int] = []
    for _ in range(40):
        first = chance.getrandbits(64) | 1 << 20
        marks.append(first)
        for _ in range(chance.randrange(4)):
            for bit in chance.sample(range(64), chance.randrange(FARTHEST + 3)):
                first ^= 1 << bit
            marks.append(first)
    signed = [mark - (1 << 64) if mark >> 63 else mark for mark in marks]
    assert near_duplicates.groups(signed, distance) == connected(signed, distance)


@pytest.mark.parametrize("distance", [DISTANCE, FARTHEST])
@pytest.mark.parametrize("alike", [16, 32])
def test_they_are_found_among_many_that_are_alike_in_part(distance: int, alike: int) -> None:
    chance = random.Random(alike)
    marks: list[int] = []
    for _ in range(250):  # as pictures with the same margin
        first = chance.getrandbits(64 - alike) << alike | (1 << alike) - 1
        other = first
        for bit in chance.sample(range(64), chance.randrange(FARTHEST + 3)):
            other ^= 1 << bit
        marks += [first, other]
    assert near_duplicates.groups(marks, distance) == connected(marks, distance)


def test_what_has_no_fingerprint_or_is_plain_is_in_no_group() -> None:
    assert near_duplicates.groups([None, None, PLAIN, PLAIN, 7, None, 7]) == [[4, 6]]
    assert near_duplicates.groups([]) == []


def test_a_distance_that_would_miss_some_is_refused() -> None:
    with pytest.raises(ValueError, match="7 bits"):
        near_duplicates.groups([1, 2], FARTHEST + 1)


def test_copies_of_a_picture_are_near_and_other_pictures_are_not() -> None:
    images = [scene(seed) for seed in range(30)]
    ways: list[Callable[[Image.Image], Image.Image]] = [
        lambda image: compressed(image, 40),
        lambda image: image.resize((100, 100)),
        lambda image: image.resize((640, 480), Image.Resampling.BICUBIC),
        lambda image: ImageEnhance.Brightness(image).enhance(0.8),
        lambda image: image.convert("L"),
    ]
    marks = [fingerprint(image) for image in images]
    for way in ways:
        copied = [fingerprint(way(image)) for image in images]
        assert near_duplicates.groups(marks + copied) == [[n, n + 30] for n in range(30)]
    assert fingerprint(images[0].transpose(Image.Transpose.FLIP_LEFT_RIGHT)) != marks[0]


def test_a_fingerprint_is_a_signed_number_of_64_bits() -> None:
    marks = [fingerprint(scene(seed)) for seed in range(60)]
    assert all(-(1 << 63) <= mark < 1 << 63 for mark in marks)
    assert {mark < 0 for mark in marks} == {True, False}


@pytest.mark.parametrize("size", [(1, 1), (9, 8), (400, 3)])
def test_plain_pictures_are_not_taken_for_copies_of_each_other(size: tuple[int, int]) -> None:
    assert fingerprint(Image.new("RGB", size, (9, 80, 200))) == PLAIN
    noise = Image.effect_noise((64, 64), 3).convert("RGB")
    assert fingerprint(noise) == PLAIN


def test_the_distance_is_below_the_farthest() -> None:
    assert DISTANCE <= FARTHEST


def test_pictures_that_are_alike_are_not_chained_to_one_group() -> None:
    chance = random.Random(5)
    marks = [chance.getrandbits(64)]
    for _ in range(199):
        marks.append(marks[-1] ^ sum(1 << bit for bit in chance.sample(range(64), 4)))
    copies = [marks[10], marks[20] ^ 1]
    assert near_duplicates.groups(marks + copies) == [[10, 200], [20, 201]]


class Counted(int):
    """A fingerprint that counts how often fingerprints are compared."""

    pairs = 0

    def __and__(self, other: int) -> Counted:
        return self

    def __xor__(self, other: int) -> int:
        Counted.pairs += 1
        return int(self) ^ int(other)


def test_pictures_that_are_all_alike_are_not_all_compared() -> None:
    """Of 100,000, five billion pairs would be compared, at each distance, while a request waits."""
    chance = random.Random(0)
    common, marks = chance.getrandbits(64), []
    for _ in range(2000):
        mark = common
        for _ in range(chance.randint(0, 12)):
            mark ^= 1 << chance.randrange(64)
        marks.append(mark)
    Counted.pairs = 0
    found = near_duplicates.groups([Counted(mark) for mark in marks])
    assert found == near_duplicates.groups(marks)
    assert Counted.pairs < 100_000
