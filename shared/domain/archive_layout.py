"""The archive layout determines label and split of each path in a dataset's archive (rules, no I/O).

    LABEL/picture.jpg                      assigned to a split when a training begins
    SPLIT/LABEL/picture.jpg                SPLIT is training, validation or test, by any name of `_SPLITS`
    SPLIT/SPLIT/LABEL/picture.jpg          the same: a folder of a split that was packed by itself
    FOLDER/…                               single folders around any of these, as zipping a folder makes

The meaning of a folder follows from all paths together:

- If all top folders have names of splits, they are splits.
- If some have, they are splits if they hold more files as LABEL/picture than directly, else labels, so that a label
`test` may stand beside `red`. If they are splits, files in the other folders are not used.
- A single top folder is removed from the paths if more files are usable without it, and so is a single folder in it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from shared.domain.datasets import Split, check_name, file_name
from shared.domain.pictures import show_bytes
from shared.errors import BadDataset, BadOption

_SPLITS = {
    "training": Split.TRAINING,
    "train": Split.TRAINING,
    "trn": Split.TRAINING,
    "validation": Split.VALIDATION,
    "validate": Split.VALIDATION,
    "validating": Split.VALIDATION,
    "valid": Split.VALIDATION,
    "val": Split.VALIDATION,
    "dev": Split.VALIDATION,
    "test": Split.TEST,
    "testing": Split.TEST,
    "tst": Split.TEST,
}
"""Names of splits. `eval` and `evaluation` are none: some public datasets call the test pictures so, and others those
for validation."""
_BESIDES = re.compile(r"(set|data|dataset|split|image|img|picture|pic|photo)$")
"""What may follow the name of a split, as in `test_set`, `train images` or `Valset`."""

_UNDECODED = re.compile("[\N{REPLACEMENT CHARACTER}\ud800-\udfff]")
"""Characters that stand for bytes that could not be decoded, see archive_names.py; labels must not have them."""

_SHOWN = 3
"""Number of paths named in the error when no file of an archive is usable."""

_DEEPEST = 3
"""The most folders of a usable path: SPLIT/SPLIT/LABEL."""

_Parts = tuple[str, ...]


@dataclass(frozen=True)
class ExamplePath:
    """Labels, split and name of one file in the archive."""

    labels: tuple[str, ...]
    """The labels as `datasets.check_name` returns them; case is significant. One for a file in a label folder."""
    split: Split
    name: str
    """The name of the file as `datasets.file_name` returns it."""


def resolve(paths: Sequence[str]) -> list[ExamplePath | str]:
    """Return, for each path, its ExamplePath, or the reason why it is not used, as a phrase that follows the path.

    `paths` are all files of one archive, as `archives.names` returns them. Raises BadDataset if no path is usable.
    """
    parts = [tuple(path.split("/")) for path in paths]
    around = _folders_around(parts)
    # No file is usable with more than `_DEEPEST` folders, so that only few depths are tried below many folders.
    depths = range(max(0, around - _DEEPEST), around + 1)
    places = max((_read([part[min(depth, len(part) - 1) :] for part in parts]) for depth in depths), key=_placed)
    if not _placed(places):
        raise BadDataset(_describe_unusable(paths, places))
    return places


def _tops(parts: Sequence[_Parts]) -> set[str]:
    """Return the top folders of all paths that lie in a folder."""
    return {part[0] for part in parts if len(part) > 1}


def _folders_around(parts: Sequence[_Parts]) -> int:
    """Return how many folders lie around all others, each alone at its level."""
    depth = 0
    while len({part[depth] for part in parts if len(part) > depth + 1}) == 1:
        depth += 1
    return depth


def _placed(places: Sequence[ExamplePath | str]) -> int:
    return sum(isinstance(place, ExamplePath) for place in places)


def _read(parts: Sequence[_Parts]) -> list[ExamplePath | str]:
    """Resolve paths from the top, without removing a folder around the others."""
    parts = [_once(part) for part in parts]
    if _has_splits(parts):
        return [_place_in_split(part) for part in parts]
    return [_place(part, Split.OPEN) for part in parts]


@lru_cache(maxsize=1000)
def split_of(folder: str) -> Split | None:
    """Return the split that a folder is called by, in any case, singular or plural; None for any other name."""
    name = re.sub(r"[\W_]+", "", folder.lower())
    for _ in range(2):  # `train_data_set`, `test-images`
        name = _BESIDES.sub("", name.removesuffix("s"))
    return _SPLITS.get(name)


def _once(part: _Parts) -> _Parts:
    """Return a path with one folder for its split if it has two of them around a label."""
    doubled = len(part) > 3 and (split := split_of(part[0])) and split is split_of(part[1])
    return part[1:] if doubled else part


def _has_splits(parts: Sequence[_Parts]) -> bool:
    within = [part for part in parts if len(part) > 1 and split_of(part[0])]
    if len(_tops(within)) == len(_tops(parts)):
        return bool(within)
    return sum(len(part) == 3 for part in within) > sum(len(part) == 2 for part in within)


def _place_in_split(part: _Parts) -> ExamplePath | str:
    split = split_of(part[0]) if len(part) > 1 else None
    if split is None:
        return "lies beside the folders for training, validation and test; put it into a label folder in one of them"
    return _place(part[1:], split)


def _place(part: _Parts, split: Split) -> ExamplePath | str:
    if len(part) < 2:
        return "lies beside the label folders; put it into one of them"
    if len(part) > 2:
        return "lies deeper than LABEL/picture; move it up"
    folder, file = part
    if _UNDECODED.search(folder):
        return "lies in a folder whose name is in no known encoding; rename it, or pack it with names in UTF-8"
    try:
        return ExamplePath((check_name(folder, "label"),), split, file_name(file))
    except BadOption as error:
        return f"lies in a folder that names no label: {error.message}"


def _describe_unusable(paths: Sequence[str], places: Sequence[ExamplePath | str]) -> str:
    problems = "; ".join(
        f"{show_bytes(path)[:80]!r} {place}" for path, place in list(zip(paths, places, strict=True))[:_SHOWN]
    )
    more = f"; and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
    return (
        "No file of the archive lies in a label folder. Pack the pictures as LABEL/picture.jpg, or with the folders "
        f"training, validation and test around the labels. Found: {problems or 'nothing'}{more}."
    )
