"""The tasks: labelled pictures from folders, scikit-learn's digits, and drawn shapes, some labelled wrong."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

EACH, FEWEST = 40, 60
"""Pictures of each label to learn from, of labels with FEWEST or more; of smaller ones two thirds."""
HELD_BACK = 40
"""Maximum pictures of each label that are held back: more make the result more certain, and each run longer."""
FLIPPED = 0.1
"""Share of the pictures of the noisy task whose label is wrong on purpose."""
FOREIGN_EACH = 20
"""Pictures of each kind of foreign ones."""
_SEED = 20
_DIGIT_SIDE, _SHAPE_SIDE = 64, 128
_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
_WORDS = ("invoice", "total", "page", "contents", "figure", "note", "from", "until", "date", "sum")


@dataclass(frozen=True)
class Picture:
    """A picture with its true label."""

    name: str
    """Unique in its task."""
    label: int
    data: bytes


@dataclass(frozen=True)
class Task:
    """Labelled pictures, of which each seed draws those to learn from."""

    name: str
    labels: tuple[str, ...]
    pictures: tuple[Picture, ...]
    flipped: float = 0.0
    """Share of the pictures to learn from that get a wrong label."""


@dataclass(frozen=True)
class Draw:
    """The pictures of a task as one seed has drawn them."""

    task: Task
    seed: int
    training: tuple[Picture, ...]
    given: np.ndarray
    """The label (N,) that each picture to learn from is given, which is wrong for the flipped ones."""
    held_back: tuple[Picture, ...]

    @property
    def truths(self) -> np.ndarray:
        """The true label (M,) of each picture that is held back."""
        return np.array([picture.label for picture in self.held_back])

    @property
    def flipped(self) -> list[str]:
        """The names of the pictures whose given label is wrong."""
        return [each.name for each, given in zip(self.training, self.given, strict=True) if each.label != given]


def draw(task: Task, seed: int) -> Draw:
    """Return the pictures to learn from and those held back; the same ones for the same task and seed."""
    random = np.random.default_rng([_SEED, seed])
    training: list[Picture] = []
    held_back: list[Picture] = []
    for label in range(len(task.labels)):
        own = [picture for picture in task.pictures if picture.label == label]
        shuffled = [own[number] for number in random.permutation(len(own))]
        learned = EACH if len(own) >= FEWEST else 2 * len(own) // 3
        training += shuffled[:learned]
        held_back += shuffled[learned : learned + HELD_BACK]
    given = np.array([picture.label for picture in training])
    wrong = random.choice(len(training), round(task.flipped * len(training)), replace=False)
    given[wrong] = (given[wrong] + random.integers(1, len(task.labels), len(wrong))) % len(task.labels)
    return Draw(task, seed, tuple(training), given, tuple(held_back))


def from_folder(folder: Path) -> Task:
    """Return the task of a folder with a folder of pictures for each label; raises ValueError if it has fewer than
    two labels, or a label of fewer than three pictures."""
    labels = sorted(path.name for path in folder.iterdir() if path.is_dir())
    pictures = []
    for number, label in enumerate(labels):
        paths = sorted(path for path in (folder / label).iterdir() if path.suffix.lower() in _SUFFIXES)
        if len(paths) < 3:
            raise ValueError(f"{folder.name}/{label} has {len(paths)} pictures; a label needs three or more")
        pictures += [Picture(f"{label}-{path.name}", number, path.read_bytes()) for path in paths]
    if len(labels) < 2:
        raise ValueError(f"{folder} has {len(labels)} folders of labels; a task needs two or more")
    return Task(folder.name, tuple(labels), tuple(pictures))


def digits() -> Task:
    """Return scikit-learn's handwritten digits, 80 of each, enlarged from 8 x 8 to 64 x 64 pixels."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    chosen = sorted(number for label in range(10) for number in np.flatnonzero(labels == label)[: EACH + HELD_BACK])
    pictures = []
    for number in chosen:
        small = Image.fromarray((pixels[number].reshape(8, 8) * (255 / 16)).astype(np.uint8))
        enlarged = small.resize((_DIGIT_SIDE, _DIGIT_SIDE), Image.Resampling.BICUBIC)
        pictures.append(Picture(f"digit-{number:04}.png", int(labels[number]), _png(enlarged)))
    return Task("digits", tuple(str(digit) for digit in range(10)), tuple(pictures))


def shapes() -> Task:
    """Return drawn shapes of random colours, places and sizes, before noise; a tenth of the labels is wrong."""
    random = np.random.default_rng(_SEED)
    labels = tuple(_SHAPES)
    pictures = [
        Picture(f"shape-{number:04}.png", number % len(labels), _png(_shape(labels[number % len(labels)], random)))
        for number in range(len(labels) * (EACH + HELD_BACK))
    ]
    return Task("shapes", labels, tuple(pictures), FLIPPED)


MADE: Mapping[str, Callable[[], Task]] = {"digits": digits, "shapes": shapes}
"""The tasks that need no folder."""


def foreign(others: Iterable[Task]) -> list[bytes]:
    """Return pictures that belong to no label of a task: those of other tasks, noise, and text."""
    random = np.random.default_rng(_SEED)
    pictures = []
    for task in others:
        chosen = random.choice(len(task.pictures), min(FOREIGN_EACH, len(task.pictures)), replace=False)
        pictures += [task.pictures[number].data for number in chosen]
    noise = (Image.fromarray(random.integers(0, 256, (96, 96, 3), np.uint8)) for _ in range(FOREIGN_EACH))
    return [*pictures, *(_png(picture) for picture in noise), *(_png(_text(random)) for _ in range(FOREIGN_EACH))]


def _text(random: np.random.Generator) -> Image.Image:
    picture = Image.new("RGB", (224, 224), (250, 250, 248))
    pen = ImageDraw.Draw(picture)
    for line in range(10):
        pen.text((10, 8 + 21 * line), " ".join(random.choice(_WORDS, 5)), fill=(20, 20, 20))
    return picture


def _polygon(corners: int, inner: float = 1.0) -> list[tuple[float, float]]:
    """Return corners on a circle of radius 1; every second one is at `inner`."""
    turns = [2 * math.pi * number / corners for number in range(corners)]
    radii = [inner if number % 2 else 1.0 for number in range(corners)]
    return [(radius * math.sin(turn), -radius * math.cos(turn)) for radius, turn in zip(radii, turns, strict=True)]


_ARM = 0.33
_SHAPES: Mapping[str, list[tuple[float, float]]] = {
    "circle": _polygon(60),
    "triangle": _polygon(3),
    "square": _polygon(4),
    "star": _polygon(10, 0.4),
    "cross": [(-_ARM, -1), (_ARM, -1), (_ARM, -_ARM), (1, -_ARM), (1, _ARM), (_ARM, _ARM), (_ARM, 1), (-_ARM, 1),
              (-_ARM, _ARM), (-1, _ARM), (-1, -_ARM), (-_ARM, -_ARM)],
}  # fmt: skip
"""Label -> the corners of the shape, around 0 and within radius 1 or little more."""


def _shape(label: str, random: np.random.Generator) -> Image.Image:
    background, colour = random.integers(0, 256, (2, 3))
    while np.abs(background - colour).sum() < 120:  # else the shape cannot be seen
        colour = random.integers(0, 256, 3)
    radius, turn = random.uniform(18, 40), random.uniform(0, 2 * math.pi)
    x, y = random.uniform(radius, _SHAPE_SIDE - radius, 2)
    cosine, sine = radius * math.cos(turn), radius * math.sin(turn)
    corners = [(x + cosine * right - sine * down, y + sine * right + cosine * down) for right, down in _SHAPES[label]]
    picture = Image.new("RGB", (_SHAPE_SIDE, _SHAPE_SIDE), tuple(background.tolist()))
    ImageDraw.Draw(picture).polygon(corners, fill=tuple(colour.tolist()))
    noisy = np.asarray(picture, np.float32) + random.normal(0, 20, (_SHAPE_SIDE, _SHAPE_SIDE, 3))
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def _png(picture: Image.Image) -> bytes:
    with io.BytesIO() as file:
        picture.save(file, "PNG")
        return file.getvalue()
