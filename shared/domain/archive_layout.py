"""The archive layout determines label and split of each path in a dataset's archive (rules, no I/O).

    LABEL/picture.jpg                      assigned to a split when a training begins
    SPLIT/LABEL/picture.jpg                SPLIT is training (train), validation (val, valid) or test, in any case
    FOLDER/…                               a single folder around either, as zipping a folder makes

The meaning of a folder follows from all paths together:

- If all top folders have names of splits, they are splits.
- If some have, they are splits if they hold more files as LABEL/picture than directly, else labels, so that a label
`test` may stand beside `red`. If they are splits, files in the other folders are not used.
- If there is a single top folder, it is removed from the paths if more files are usable without it.
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
"""The character that replaces bytes that are not UTF-8 in a path; it could make two labels equal."""

_SHOWN = 3
"""Number of paths named in the error when no file of an archive is usable."""

_Parts = tuple[str, ...]


@dataclass(frozen=True)
class ExamplePath:
    """Label, split and name of one file in the archive."""

    label: str
    """The label as `datasets.check_name` returns it; case is significant."""
    split: Split
    name: str
    """The name of the file as `datasets.file_name` returns it."""


def resolve(paths: Sequence[str]) -> list[ExamplePath | str]:
    """Return, for each path, its ExamplePath, or the reason why it is not used, as a phrase that follows the path.

    `paths` are all files of one archive, as `archives.names` returns them. Raises BadDataset if no path is usable.
    """
    parts = [tuple(path.split("/")) for path in paths]
    places = _read(parts)
    if len(_tops(parts)) == 1:
        inside = _read([part[1:] or part for part in parts])
        places = max(places, inside, key=_placed)
    if not _placed(places):
        raise BadDataset(_describe_unusable(paths, places))
    return places


def _tops(parts: Sequence[_Parts]) -> set[str]:
    """Return the top folders of all paths that lie in a folder."""
    return {part[0] for part in parts if len(part) > 1}


def _placed(places: Sequence[ExamplePath | str]) -> int:
    return sum(isinstance(place, ExamplePath) for place in places)


def _read(parts: Sequence[_Parts]) -> list[ExamplePath | str]:
    """Resolve paths from the top, without removing a folder around the others."""
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


def _describe_unusable(paths: Sequence[str], places: Sequence[ExamplePath | str]) -> str:
    problems = "; ".join(f"{path[:80]!r} {place}" for path, place in list(zip(paths, places, strict=True))[:_SHOWN])
    more = f"; and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
    return (
        "No file of the archive lies in a label folder. Pack the pictures as LABEL/picture.jpg, or with the folders "
        f"training, validation and test around the labels. Found: {problems or 'nothing'}{more}."
    )
