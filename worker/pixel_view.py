"""The pixels of a Pillow picture are seen as a tensor without a copy, through the interface of Apache Arrow.

A photo of 12 megapixels has 48 MB in Pillow's memory, and numpy's `asarray` and Pillow's `tobytes` copy them.
"""

from __future__ import annotations

import ctypes

import numpy as np
import torch
from PIL import Image


class _ArrowArray(ctypes.Structure):
    """The beginning of the structure that Arrow's C data interface defines for the values of a column."""


_ArrowArray._fields_ = [  # a structure that refers to itself is declared in two steps
    ("length", ctypes.c_int64),
    ("null_count", ctypes.c_int64),
    ("offset", ctypes.c_int64),
    ("n_buffers", ctypes.c_int64),
    ("n_children", ctypes.c_int64),
    ("buffers", ctypes.POINTER(ctypes.c_void_p)),
    ("children", ctypes.POINTER(ctypes.POINTER(_ArrowArray))),
]

_content = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)


class _Memory:
    """The memory of a picture as numpy takes it; it stays as long as a view of it does."""

    def __init__(self, capsule: object, address: int, shape: tuple[int, ...]) -> None:
        """`capsule` owns the memory: it releases the pixels when it is deleted."""
        self.capsule = capsule
        self.__array_interface__ = {"shape": shape, "typestr": "|u1", "data": (address, False), "version": 3}


def pixel_view(picture: Image.Image) -> torch.Tensor:
    """Return uint8 of shape (height, width, 1) for a picture of mode `L`, (height, width, 4) for `RGB`: the fourth byte
    is Pillow's padding.

    The tensor is the picture's own memory, and changes with it. Raises ValueError if the picture is not in one block of
    memory, which shared/imaging/images.py sees to.
    """
    _, capsule = picture.__arrow_c_array__()
    column = ctypes.cast(_content(capsule, b"arrow_array"), ctypes.POINTER(_ArrowArray)).contents
    values = column.children[0].contents if column.n_children else column  # RGB is a column of lists of four bytes
    shape = (picture.height, picture.width, 4 if column.n_children else 1)
    return torch.from_numpy(np.asarray(_Memory(capsule, values.buffers[1], shape)))
