"""The feature store keeps the features of pictures in blobs, the parts, each of which is written once.

A part holds the keys (N, 32 bytes) and the features (N, D) of some pictures by one network; all parts whose blobs begin
alike belong together. Training and search read the same parts: what one has computed, the other need not.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import safetensors
import safetensors.numpy
import uuid6
from numpy.typing import NDArray

from shared.adapters.storage import Storage
from shared.domain.searches import KEY
from shared.similarity import unit

MERGED = 4096
"""Pictures up to which the parts of an index are merged; a search asks the storage for every part."""
_KEYS, _FEATURES = "sha256", "features"


@dataclass(frozen=True)
class Part:
    """The features of some pictures."""

    keys: Sequence[bytes]
    features: NDArray[np.float32]
    """(N, D)."""


def parts(storage: Storage, prefix: str) -> list[str]:
    """Return the keys of all parts, oldest first."""
    return sorted(key for key in storage.list(prefix.rpartition("/")[0]) if key.startswith(prefix))


def read(storage: Storage, key: str) -> Part | None:
    """Return a part; None if it was just removed, or is damaged."""
    with contextlib.suppress(FileNotFoundError, safetensors.SafetensorError):
        stored = safetensors.numpy.load(storage.read(key))
        joined = stored[_KEYS].tobytes()
        return Part([joined[at : at + KEY] for at in range(0, len(joined), KEY)], stored[_FEATURES])
    return None


def write(storage: Storage, prefix: str, features: Mapping[bytes, NDArray[np.float32]]) -> None:
    """Store the features of pictures as another part; does nothing without pictures."""
    if features:
        keys = np.frombuffer(b"".join(features), dtype=np.uint8).reshape(-1, KEY)
        data = safetensors.numpy.save({_KEYS: keys, _FEATURES: np.stack(list(features.values()))})
        storage.write(f"{prefix}{uuid6.uuid7()}", data)


def read_all(storage: Storage, prefix: str) -> dict[bytes, NDArray[np.float32]]:
    """Return key -> features, from all parts."""
    stored: dict[bytes, NDArray[np.float32]] = {}
    for key in parts(storage, prefix):
        if part := read(storage, key):
            stored |= dict(zip(part.keys, part.features, strict=True))
    return stored


def known(storage: Storage, prefix: str) -> set[bytes]:
    """Return the keys of all pictures whose features are stored."""
    keys: set[bytes] = set()
    for name in parts(storage, prefix):
        if part := read(storage, name):
            keys.update(part.keys)
    return keys


def tidy(storage: Storage, prefix: str, kept: Collection[bytes] | None = None) -> None:
    """Merge small parts, and remove pictures that are not `kept`, if that is given.

    A part is removed after the one that replaces it is stored: whoever reads meanwhile finds a picture twice.
    """
    small: dict[bytes, NDArray[np.float32]] = {}
    replaced: list[str] = []
    has_removed = False
    for name in parts(storage, prefix):
        part = read(storage, name)
        rows = {} if part is None else {
            key: row for key, row in zip(part.keys, part.features, strict=True) if kept is None or key in kept
        }  # fmt: skip
        if part is None or len(rows) < len(part.keys) or len(rows) < MERGED:
            has_removed |= part is None or len(rows) < len(part.keys)
            small |= rows
            replaced.append(name)
        if len(small) >= MERGED:
            write(storage, prefix, small)
            _delete(storage, replaced)
            small, replaced, has_removed = {}, [], False
    if len(replaced) > 1 or has_removed:
        write(storage, prefix, small)
        _delete(storage, replaced)


def _delete(storage: Storage, names: Sequence[str]) -> None:
    for name in names:
        storage.delete(name)


class FeatureCache:
    """The parts that were searched last, in memory, with rows of length one; a part never changes."""

    def __init__(self, storage: Storage, most: int) -> None:
        """`most` is in bytes; a single part may exceed it."""
        self._storage, self._most = storage, most
        self._kept: OrderedDict[str, Part] = OrderedDict()

    def get(self, name: str) -> Part | None:
        """Return a part with rows of length one; None as for `read`."""
        part = self._kept.get(name)
        if part is None:
            stored = read(self._storage, name)
            if stored is None:
                return None
            part = self._kept[name] = Part(stored.keys, unit(stored.features).astype(np.float32, copy=False))
            while len(self._kept) > 1 and self.bytes > self._most:
                self._kept.popitem(last=False)
        self._kept.move_to_end(name)
        return part

    @property
    def bytes(self) -> int:
        """Bytes of the rows in memory."""
        return sum(part.features.nbytes for part in self._kept.values())
