"""Imports of models: the form that is sent, and the files of a folder that belong to its model."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any, TypedDict, cast

from inferq.client.folder_archive import packed
from inferq.errors import InferqError

_IMAGENET = "imagenet"


class ImportOptions(TypedDict, total=False):
    """What an import may say about a model, where the file does not."""

    architecture: str
    """The name in torchvision or timm."""
    labels: str | Path | Sequence[str] | Mapping[int, str]
    """A file of labels (text, JSON, CSV), a list, an object of index to label, or `imagenet`."""
    version: str
    preprocessing: str | Path | Mapping[str, Any]
    """The name of a preset, a JSON file, or values: preset, resize, crop, mean, std, interpolation and the others that
    a version shows."""
    problem_type: str
    """`single_label_classification` or `multi_label_classification`."""
    threshold: float | str | Sequence[float]
    """Of a multi-label model: the score from which a label is an answer; one for all labels, or one per label."""
    state_key: str
    """The set of weights to take from a file that holds several."""
    checks: Sequence[tuple[str | Path, str]]
    """Pictures with the label that the model must give them; else it is refused."""
    reject_below_precision: float | str
    """The wanted share of right answers among those that are believed; a rule is fitted on the dataset `reject_on`."""
    reject_on: int | str
    unknown_label: str
    """The label of answers that are not believed, on wires that have no word for doubt."""


def form_parts(name: str, options: ImportOptions) -> Iterator[tuple[str, Any]]:
    """Yield the parts of the form without the weights; raises InferqError for an unknown option, OSError."""
    _refuse_unknown(options)
    options = cast(ImportOptions, {option: value for option, value in options.items() if value is not None})
    fields = {
        "name": name,
        "architecture": options.get("architecture", ""),
        "version": str(options.get("version", "")),
        "preprocessing": _preprocessing(options.get("preprocessing", "")),
        "problem_type": options.get("problem_type", ""),
        "threshold": _threshold(options.get("threshold", "")),
        "state_key": options.get("state_key", ""),
        "reject_below_precision": str(options.get("reject_below_precision", "")),
        "reject_on": str(options.get("reject_on", "")),
        "unknown_label": options.get("unknown_label", ""),
    }
    yield from ((key, (None, value)) for key, value in fields.items() if value)
    labels = options.get("labels", "")
    if isinstance(labels, str) and labels not in ("", _IMAGENET) and "\n" not in labels:
        labels = Path(labels)
    if isinstance(labels, Path):
        yield "labels", (labels.name, labels.read_bytes())
    elif labels:
        yield "labels", (None, labels if isinstance(labels, str) else _labels(labels))
    for picture, label in options.get("checks", ()):
        yield "check", (Path(picture).name, Path(picture).read_bytes())
        yield "check_label", (None, label)


def _refuse_unknown(options: ImportOptions) -> None:
    known = sorted(ImportOptions.__annotations__)
    for option in options:
        if option not in known:
            near = difflib.get_close_matches(option, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(known)}"
            raise InferqError(f"an import has no option {option!r}; {hint} Values such as resize: in preprocessing")


def _preprocessing(wanted: str | Path | Mapping[str, Any]) -> str:
    if isinstance(wanted, Path):
        return wanted.read_text("utf-8-sig")
    return wanted if isinstance(wanted, str) else json.dumps(dict(wanted))


def _labels(labels: Sequence[str] | Mapping[int, str]) -> str:
    """Return a list as JSON, or an object of index to label, as the `id2label` of a config is."""
    return json.dumps(dict(labels) if isinstance(labels, Mapping) else list(labels))


def _threshold(wanted: float | str | Sequence[float]) -> str:
    return str(wanted) if isinstance(wanted, (str, int, float)) else ",".join(map(str, wanted))


def opened(weights: Path) -> AbstractContextManager[IO[bytes]]:
    """Open a file, or the zip of a folder's files without those that no import reads."""
    return packed(weights, _wanted_files(weights)) if weights.is_dir() else weights.open("rb")


def _wanted_files(folder: Path) -> list[Path]:
    """Return the files of a model: the weights in safetensors if there are any, and the small files beside them.

    Folders from a model hub often hold the same weights several times, for other libraries, and those of a training a
    folder per checkpoint. The server reads the top alone, so of the folders below it only those are packed that a
    format needs; all of them would send gigabytes for nothing.
    """
    top = _top(folder)
    nested = [path for name in _NESTED if (top / name).is_dir() for path in (top / name).rglob("*")]
    files = [path for path in (*top.iterdir(), *nested) if path.is_file() and not path.name.startswith(".")]
    weights = [path for path in files if path.suffix == ".safetensors"]
    weights = weights or [path for path in files if path.suffix in (".onnx", ".pth", ".pt", ".bin", ".ckpt")]
    small = [path for path in files if path.suffix in _BESIDE and path.stat().st_size <= _SMALL]
    others = [path for path in files if path.suffix in _RECOGNISED]
    return sorted({*weights, *small, *others}) or files


def _top(folder: Path) -> Path:
    """Return the folder that holds the files, below the single folder that it may lie in, as the server does."""
    inside = [path for path in folder.iterdir() if not path.name.startswith(".")]
    single = len(inside) == 1 and inside[0].is_dir() and not inside[0].is_symlink()
    return _top(inside[0]) if single and not inside[0].name.startswith(_CHECKPOINT) else folder


_NESTED = ("MAR-INF", "variables")
"""Folders of TorchServe and of TensorFlow's SavedModel."""
_CHECKPOINT = "checkpoint"
"""The beginning of the names of folders that a training has left."""
_BESIDE = (".json", ".txt", ".csv", ".png", ".tsv")
_RECOGNISED = (".pb", ".h5", ".keras")
"""Files by which the server recognises a model that it refuses, and says how to convert it."""
_SMALL = 16 * 1024 * 1024
