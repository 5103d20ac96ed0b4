"""Folders of a model, zipped: weights with the files that lie beside them."""

from __future__ import annotations

import errno
import lzma
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path

from shared.errors import BadWeights, StorageFull, is_disk_full
from worker.model_files import exports, files, hugging_face, onnx_graphs, timm_folders, torchserve, zips
from worker.model_files.model_file import ModelFile

_LABELS = ("labels.txt", "classes.txt", "labels.json", "labels.csv", "index_to_name.json", "id2label.json")
"""Names of files of labels, the best first."""
_MAX_FILES = 1000
_MAX_RATIO = 20
"""Unpacked bytes per packed byte; weights hardly shrink, and a bomb grows a thousandfold."""


def read_zip(path: Path, folder: Path) -> ModelFile:
    """Unpack the zip of a folder into `folder`, and read it; raises BadWeights."""
    top = _unpack(path, folder)
    readers = (
        ("inferq.json", exports.read),
        ("MAR-INF/MANIFEST.json", torchserve.read),
        ("config.json", _read_config),
    )
    for name, reader in readers:
        if (top / name).is_file():
            return reader(top)
    return _read_plain(top)


def _unpack(path: Path, folder: Path) -> Path:
    """Unpack the regular files; return the folder that holds them, below the single top folder that a zip may have."""
    try:
        with zips.opened(path) as archive:
            members = [info for info in archive.infolist() if not info.is_dir() and not _is_junk(info.filename)]
            total = sum(info.file_size for info in members)
            if len(members) > _MAX_FILES or total > _MAX_RATIO * path.stat().st_size:
                raise BadWeights("The zip unpacks to far more than a model. Pack only the files of one model.")
            for info in members:
                archive.extract(info, folder)  # it keeps paths with .. and drives below the folder
    except _DAMAGED as error:
        raise BadWeights(f"The zip cannot be unpacked ({error}). Pack it again without a password.") from error
    except OSError as error:
        raise _unpacking_failed(error) from error
    top = folder
    while len(inside := list(top.iterdir())) == 1 and inside[0].is_dir():
        top = inside[0]
    return top


def _is_junk(name: str) -> bool:
    """Return True for hidden files; a path may begin with `./`, as some programs write it."""
    return any((part.startswith(".") and part != ".") or part == "__MACOSX" for part in name.split("/"))


_DAMAGED = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, NotImplementedError, RuntimeError, ValueError, EOFError
)  # fmt: skip
_UNWRITABLE = (errno.ENAMETOOLONG, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.EILSEQ)
"""Errors of names that no folder can hold: too long, or a file and a folder of one name."""


def _unpacking_failed(error: OSError) -> Exception:
    """Return BadWeights for a fault of the zip, StorageFull or the error itself for one of this machine."""
    if is_disk_full(error):
        return StorageFull("The worker has no room to unpack the zip; make room on its disk.")
    if error.errno is None:  # bzip2 reports damaged data so
        return BadWeights(f"The zip cannot be unpacked ({error}). Pack it again.")
    if error.errno in _UNWRITABLE:
        name = Path(error.filename or "").name[:_SHOWN]
        return BadWeights(f"The zip cannot be unpacked: {name!r} cannot be written ({error.strerror}). Rename it.")
    return error


_SHOWN = 50
"""Characters of a name that an error shows."""


def _read_config(top: Path) -> ModelFile:
    config = files.read_json(top / "config.json")
    if timm_folders.is_timm(config):
        return timm_folders.read(top, config)
    return hugging_face.read(top, config)


def _read_plain(top: Path) -> ModelFile:
    """Return the only file of weights in a folder, with the labels that lie beside it."""
    found = files.find_weights(top)
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise BadWeights(
            f"The folder has no config.json, and not one file of weights but {len(found)} ({names}). Import the file, "
            "or a folder as timm or transformers save it."
        )
    file = onnx_graphs.read(found[0]) if found[0].suffix == ".onnx" else files.read_tensors(found[0])
    names_file = next((top / name for name in _LABELS if (top / name).is_file()), None)
    if names_file is None or file.labels:
        return file
    return replace(file, labels=files.read_labels(names_file))
