"""Which label and which split a path in a dataset's archive means (rules, no I/O).

    LABEL/picture.jpg                      dealt out when a training begins
    SPLIT/LABEL/picture.jpg                SPLIT is training (train), validation (val, valid) or test, in any case
    FOLDER/…                               one folder around either, as zipping a folder makes

What a folder is, is told from all paths together:

- All folders at the top are called like splits: they are splits.
- Some are: they are splits where they hold more files as LABEL/picture than directly, else labels, so that `test` may
  stand beside `red`. Files in the other folders then have no place.
- There is one folder at the top: it is around the others if more files have a place without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shared.domain.datasets import Split, check_name, file_name
from shared.errors import BadDataset, BadOption

_SPLITS = {
    "training": Split.TRAINING,
    "train": Split.TRAINING,
    "validation": Split.VALIDATION,
    "valid": Split.VALIDATION,
    "val": Split.VALIDATION,
    "test": Split.TEST,
}

_NO_UTF8 = "\N{REPLACEMENT CHARACTER}"
"""Stands in a path for what was not UTF-8: two labels could become one by it."""

_SHOWN = 3
"""Paths of an archive without any place, told with the reason."""

_Parts = tuple[str, ...]


@dataclass(frozen=True)
class ExamplePath:
    """Where one file of the archive belongs."""

    label: str
    """As `datasets.name_of` makes it; labels that differ only in case are two."""
    split: Split
    name: str
    """Of the file, as `datasets.file_name` makes it."""


def resolve(paths: Sequence[str]) -> list[ExamplePath | str]:
    """For each path its place, or why it has none, as a phrase to follow the path; raises BadDataset if all have none.

    `paths` are all files of one archive, as `archives.names` gives them.
    """
    parts = [tuple(path.split("/")) for path in paths]
    places = _read(parts)
    if len(_tops(parts)) == 1:
        inside = _read([part[1:] or part for part in parts])
        places = max(places, inside, key=_placed)
    if not _placed(places):
        raise BadDataset(_complaint(paths, places))
    return places


def _tops(parts: Sequence[_Parts]) -> set[str]:
    """The folders at the top, of all that lies in a folder."""
    return {part[0] for part in parts if len(part) > 1}


def _placed(places: Sequence[ExamplePath | str]) -> int:
    return sum(isinstance(place, ExamplePath) for place in places)


def _read(parts: Sequence[_Parts]) -> list[ExamplePath | str]:
    """Places as seen from the top, taking no folder for one around the others."""
    if _has_splits(parts):
        return [_place_in_split(part) for part in parts]
    return [_place(part, Split.OPEN) for part in parts]


def _has_splits(parts: Sequence[_Parts]) -> bool:
    within = [part for part in parts if len(part) > 1 and part[0].lower() in _SPLITS]
    if len(_tops(within)) == len(_tops(parts)):
        return bool(within)
    return sum(len(part) == 3 for part in within) > sum(len(part) == 2 for part in within)


def _place_in_split(part: _Parts) -> ExamplePath | str:
    split = _SPLITS.get(part[0].lower()) if len(part) > 1 else None
    if split is None:
        return "lies beside the folders for training, validation and test; put it into a label folder in one of them"
    return _place(part[1:], split)


def _place(part: _Parts, split: Split) -> ExamplePath | str:
    if len(part) < 2:
        return "lies beside the label folders; put it into one of them"
    if len(part) > 2:
        return "lies deeper than LABEL/picture; move it up"
    folder, file = part
    if _NO_UTF8 in folder:
        return "lies in a folder whose name is not UTF-8; rename it, or pack it by another program"
    try:
        return ExamplePath(check_name(folder, "label"), split, file_name(file))
    except BadOption as error:
        return f"lies in a folder that names no label: {error.message}"


def _complaint(paths: Sequence[str], places: Sequence[ExamplePath | str]) -> str:
    found = "; ".join(f"{path[:80]!r} {place}" for path, place in list(zip(paths, places, strict=True))[:_SHOWN])
    more = f"; and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
    return (
        "No file of the archive lies in a label folder. Pack the pictures as LABEL/picture.jpg, or with the folders "
        f"training, validation and test around the labels. Found: {found or 'nothing'}{more}."
    )
