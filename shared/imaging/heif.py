"""HEIC: libheif reads it, once the parts that a picture is put together from are known to be no more than the whole.

meta ──┬── pitm: the picture that counts          ┌── ispe: size
       ├── iprp ── ipco: properties, each one ────┴── others
       │       └── ipma: item ──> its properties
       └── iref: item ──> the items that it is made of (tiles, layers), and its alpha
"""

from __future__ import annotations

import functools
import struct
from collections import defaultdict
from collections.abc import Iterator

_TIMES = 8
_MORE = 16_000_000
"""Maximum pixels of all parts: so many times those of the picture, and so many more. A photo of an iPhone has four
times: its tiles, and pictures of depth, light and masks, which are counted although they are not decoded."""

_META_BYTES = 1_000_000
"""Maximum bytes of the structure, of which a photo has about 5000."""

_DEPTH = 8
"""Maximum depth of parts that have parts."""


@functools.cache
def register() -> None:
    """Register libheif with Pillow at the first HEIC: most processes never see one.

    libheif turns and mirrors the picture as its structure says, and the EXIF orientation, which only repeats that, then
    reads as 1. It decodes no more pixels of a part than its header declares. Its own threads are off: a worker has
    INFERQ_DECODE_THREADS.
    """
    from pillow_heif import register_heif_opener

    register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)


def check_parts(data: bytes) -> None:
    """Raise ValueError if the parts of the picture have many more pixels than the picture.

    libheif has no such limit: in 2 KB, one part of 64 million pixels can be a tile of a small picture 65536 times.
    """
    whole = _Boxes(data, *_content(data, 0, len(data), b"meta", full=True))
    if whole.begin == whole.end:
        return  # nothing that libheif would decode
    if whole.end - whole.begin > _META_BYTES:
        raise ValueError("its structure is unreasonably long")
    primary = whole.primary()
    sizes, children = whole.sizes(), whole.children()
    largest = max(sizes.values(), default=0)

    @functools.cache
    def pixels(item: int, depth: int) -> int:
        if depth > _DEPTH:
            raise ValueError("its parts are nested too deeply")
        return sizes.get(item, largest) + sum(pixels(child, depth + 1) for child in children.get(item, ()))

    if pixels(primary, 0) > _TIMES * sizes.get(primary, largest) + _MORE:
        raise ValueError("its parts have many more pixels than the whole")


def _boxes(data: bytes, begin: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield (kind, begin, end) of the content of each box; none after one that ends elsewhere."""
    while end - begin >= 8:
        size, header = int.from_bytes(data[begin : begin + 4], "big"), 8
        if size == 1:
            size, header = int.from_bytes(data[begin + 8 : begin + 16], "big"), 16
        elif size == 0:
            size = end - begin
        if size < header or begin + size > end:
            return
        yield data[begin + 4 : begin + 8], begin + header, begin + size
        begin += size


def _content(data: bytes, begin: int, end: int, kind: bytes, *, full: bool = False) -> tuple[int, int]:
    """Return (begin, end) of the content of the only box of a kind, `full` for one with version and flags; (0, 0) if
    there is none. Of two, readers take different ones, so ValueError is raised."""
    found = [(start + 4 * full, stop) for name, start, stop in _boxes(data, begin, end) if name == kind]
    if len(found) > 1:
        raise ValueError(f"it has {len(found)} boxes {kind.decode()}")
    return found[0] if found else (0, 0)


class _Boxes:
    """The content of the box `meta`, which describes all items."""

    def __init__(self, data: bytes, begin: int, end: int) -> None:
        self._data = data
        self.begin = begin
        self.end = end

    def primary(self) -> int:
        """Return the item that counts as the picture."""
        begin, _ = _content(self._data, self.begin, self.end, b"pitm")
        return self._number(begin + 4, 4 if self._data[begin] else 2)

    def sizes(self) -> dict[int, int]:
        """Return the pixels of each item that declares its size."""
        properties = _content(self._data, self.begin, self.end, b"iprp")
        areas = [
            self._number(start + 4, 4) * self._number(start + 8, 4) if kind == b"ispe" else 0
            for kind, start, _ in _boxes(self._data, *_content(self._data, *properties, b"ipco"))
        ]
        sizes: dict[int, int] = {}
        for kind, start, stop in _boxes(self._data, *properties):
            if kind == b"ipma":
                for item, index in self._associations(start, stop):
                    if 0 < index <= len(areas) and areas[index - 1]:
                        sizes[item] = max(sizes.get(item, 0), areas[index - 1])
        return sizes

    def _associations(self, at: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield (item, number of its property) for each property of each item."""
        id_size, wide = (4 if self._data[at] else 2), self._data[at + 3] & 1
        count, at = self._number(at + 4, 4), at + 8
        for _ in range(count):
            if at + id_size >= end:
                return
            item, number = self._number(at, id_size), self._data[at + id_size]
            at += id_size + 1
            for _ in range(number):
                yield item, self._number(at, 2) & 0x7FFF if wide else self._data[at] & 0x7F
                at += 1 + wide

    def children(self) -> dict[int, list[int]]:
        """Return the items that each item is made of, with its alpha and other auxiliary pictures."""
        begin, end = _content(self._data, self.begin, self.end, b"iref")
        children = defaultdict(list)
        id_size = 4 if end and self._data[begin] else 2
        for kind, start, stop in _boxes(self._data, begin + 4, end):
            if kind in (b"dimg", b"auxl"):
                source, count = self._number(start, id_size), self._number(start + id_size, 2)
                targets = self._data[start + id_size + 2 : stop][: count * id_size]
                for (target,) in struct.iter_unpack(">I" if id_size == 4 else ">H", targets):
                    parent, child = (source, target) if kind == b"dimg" else (target, source)
                    children[parent].append(child)
        return children

    def _number(self, at: int, size: int) -> int:
        return int.from_bytes(self._data[at : at + size], "big")
