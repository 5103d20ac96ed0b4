"""Files of `torch.save`: a pickle that describes tensors, and the numbers, as members of a zip or one after the other.

The zip holds `TOP/data.pkl` and `TOP/data/KEY`, never compressed. Older files are five pickles (a magic number, a
version, the machine, the content, the keys), and for each key its length and its numbers. Source:
torch/serialization.py.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from shared.domain.sizes import exactly
from shared.errors import BadWeights
from worker.model_files import refused, zips
from worker.model_files.inert_pickle import Described, Unpickler

_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001
_PICKLE = "data.pkl"
_MAX_PICKLE = 16 * 1024 * 1024
"""Bytes of pickles without the numbers. One can cost a hundred in memory; 5,000 tensors take less than a megabyte."""
_LOCAL_HEADER = struct.Struct("<26xHH")
_ALIGNED = 16
"""Bytes of the longest number."""
_TAR = (257, b"ustar")


@dataclass(frozen=True)
class TorchFile:
    """The content of a file, with descriptions in place of its tensors, whose numbers stay in the file."""

    content: Any
    _bytes: torch.UntypedStorage
    """The whole file, mapped."""
    _pieces: Mapping[str, tuple[int, int]]
    """Key of a storage -> its place and size in the file."""
    _read: dict[str, torch.UntypedStorage] = field(default_factory=dict)

    def tensor(self, described: Described) -> torch.Tensor:
        """Return a tensor over the mapped file; raises ValueError if the file does not hold all its numbers."""
        storage, size, stride = described.storage, described.size, described.stride
        width = storage.dtype.itemsize
        place, held = self._pieces.get(storage.key, (0, 0))
        wanted = (storage.first + storage.length) * width
        last = described.offset + sum((count - 1) * step for count, step in zip(size, stride, strict=True)) + 1
        if wanted > held or (0 not in size and last * described.dtype.itemsize > storage.length * width):
            raise ValueError("a tensor has more numbers than the file")
        piece = self._piece(storage.key, place, held)
        empty = torch.empty(0, dtype=described.dtype)
        first = storage.first * width // described.dtype.itemsize
        return empty.set_(piece, first + described.offset, size, stride)

    def _piece(self, key: str, place: int, held: int) -> torch.UntypedStorage:
        """Return the numbers of a key, copied if they do not lie in memory as processors want them."""
        if key not in self._read:
            piece: torch.UntypedStorage = self._bytes[place : place + held]
            self._read[key] = piece if place % _ALIGNED == 0 else piece.clone()
        return self._read[key]


def open_file(path: Path) -> TorchFile:
    """Read a file of any version; raises BadWeights, Dangerous, or one of many errors if it is damaged."""
    with path.open("rb") as file:
        head = file.read(_TAR[0] + len(_TAR[1]))
    if head.startswith(b"PK"):
        content, pieces = _read_zip(path)
    elif head[_TAR[0] :] == _TAR[1]:
        raise BadWeights(
            "The file is a tar archive, as the first versions of PyTorch wrote. Load it where you trust it, and save "
            "it again: python -c \"import torch; torch.save(torch.load('FILE', weights_only=False), 'weights.pth')\". "
            "If it holds the folder of a model, pack that as a zip."
        )
    else:
        content, pieces = _read_row(path)
    whole: Any = torch.UntypedStorage.from_file(str(path), False, path.stat().st_size)
    return TorchFile(content, whole, pieces)


def _read_zip(path: Path) -> tuple[Any, dict[str, tuple[int, int]]]:
    with zips.opened(path) as archive, path.open("rb") as file:
        members = {info.filename: info for info in archive.infolist()}
        refused.check_names(members)
        name = next(name for name in members if name == _PICKLE or name.endswith(f"/{_PICKLE}"))
        if any(info.compress_type != zipfile.ZIP_STORED for info in members.values()):
            raise BadWeights(
                "The file is compressed, which torch.save never does: its size would say nothing about the memory it "
                "needs. Save it again with torch.save."
            )
        top = name.removesuffix(_PICKLE)
        _check_pickle(members[name].file_size)
        if f"{top}byteorder" in members and archive.read(f"{top}byteorder") == b"big":
            raise BadWeights("The file was written by a big-endian machine. Save the tensors as safetensors.")
        content = Unpickler(io.BytesIO(archive.read(name))).load()
        start = f"{top}data/"
        pieces = {
            member.removeprefix(start): (_place(file, info), info.file_size)
            for member, info in members.items() if member.startswith(start)
        }  # fmt: skip
    return content, _inside(pieces, path)


def _place(file: io.BufferedReader, info: zipfile.ZipInfo) -> int:
    """Return where the bytes of a member begin, which only the header before them says."""
    file.seek(info.header_offset)
    name, extra = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
    return info.header_offset + _LOCAL_HEADER.size + int(name) + int(extra)


def _check_pickle(size: int) -> None:
    if size > _MAX_PICKLE:
        raise BadWeights(
            f"The file describes its tensors, and other objects, in {exactly(size)}; {exactly(_MAX_PICKLE)} "
            "are allowed. Save the tensors alone: torch.save(model.state_dict(), FILE)"
        )


def _read_row(path: Path) -> tuple[Any, dict[str, tuple[int, int]]]:
    size = path.stat().st_size
    with path.open("rb") as file:
        pickles = io.BytesIO(file.read(_MAX_PICKLE))
        if (Unpickler(pickles).load(), Unpickler(pickles).load()) != (_MAGIC, _VERSION):
            raise ValueError("it does not begin as torch.save begins")
        Unpickler(pickles).load()
        reader = Unpickler(pickles)
        content = reader.load()
        pieces: dict[str, tuple[int, int]] = {}
        keys = Unpickler(pickles).load()
        place = pickles.tell()
        for key in keys:
            file.seek(place)
            (length,) = struct.unpack("<q", file.read(8))
            held = length * reader.widths[str(key)]
            pieces[str(key)] = (place + 8, held)
            if not 0 <= held <= size - place - 8:
                raise ValueError("it is cut off")
            place += 8 + held
    return content, pieces


def _inside(pieces: dict[str, tuple[int, int]], path: Path) -> dict[str, tuple[int, int]]:
    """Return the pieces; raises ValueError if they lie outside the file, or are one piece under many names."""
    size = path.stat().st_size
    if any(place + held > size for place, held in pieces.values()) or sum(held for _, held in pieces.values()) > size:
        raise ValueError("it is cut off")
    return pieces
