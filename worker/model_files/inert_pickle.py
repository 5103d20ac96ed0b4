"""An unpickler that makes tensors and nothing else: any other object becomes an inert stand-in, and no code runs.

It stands in for the module `pickle` in `torch.load`. torch's own `weights_only` refuses a file for every object that it
does not know, and checkpoints of Lightning or timm hold paths, enums and arguments of the command line. Nothing here
depends on the list of dangerous names: such files are refused because their author meant harm, others' objects are
never called either.
"""

from __future__ import annotations

import collections
import pickle
from typing import Any

import torch

_MAKERS = {
    ("torch._utils", "_rebuild_tensor"),
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_parameter"),
    ("torch._utils", "_rebuild_parameter_with_state"),
    ("torch.nn.parameter", "Parameter"),
    ("torch", "Size"),
    ("torch", "device"),
    ("torch.storage", "TypedStorage"),
    ("torch.storage", "UntypedStorage"),
    ("torch.serialization", "_get_layout"),
}
"""What a pickled tensor is made with; `weights_only` calls the same."""
_PLAIN = {"set", "frozenset", "list", "dict", "tuple", "int", "float", "str", "bytes", "bytearray", "complex", "bool",
          "slice", "range", "object"}  # fmt: skip
_DANGEROUS = {
    "os", "posix", "nt", "subprocess", "sys", "builtins", "__builtin__", "importlib", "runpy", "code", "codeop",
    "ctypes", "socket", "shutil", "pickle", "_pickle", "marshal", "pty", "commands", "webbrowser", "tempfile", "types",
    "multiprocessing", "asyncio", "urllib", "http", "ftplib", "requests", "httpx", "pip", "timeit", "cProfile",
    "profile", "pdb", "bdb", "platform", "signal", "threading", "ssl", "zipimport", "imp", "inspect", "linecache",
}  # fmt: skip
"""Modules, with all below them, that a file of weights has no use for."""


class Dangerous(pickle.UnpicklingError):
    """A name in a pickle that only a program would use."""


class StandIn:
    """Stands for an object of any class; it takes whatever a pickle does with it, and keeps nothing."""

    name = ""
    """The module and name of the class, as the pickle has them."""

    def __new__(cls, *args: object, **options: object) -> StandIn:
        return super().__new__(cls)

    def __init__(self, *args: object, **options: object) -> None:
        pass

    def __call__(self, *args: object, **options: object) -> StandIn:
        return self

    def __setstate__(self, state: object) -> None:
        pass

    def __setitem__(self, key: object, value: object) -> None:
        pass

    def append(self, value: object) -> None:
        """Take an element, as a list."""

    def extend(self, values: object) -> None:
        """Take elements, as a list."""

    def add(self, value: object) -> None:
        """Take an element, as a set."""

    def __hash__(self) -> int:
        return id(self)


class Unpickler(pickle.Unpickler):
    """The unpickler that `torch.load` derives its own from."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what makes a tensor, or a stand-in; raises Dangerous."""
        if (module, name) in _MAKERS:
            return super().find_class(module, name)
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if module in ("builtins", "__builtin__") and name in _PLAIN:
            return super().find_class("builtins", name)
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        if module == "torch" and name.endswith("Storage"):
            return super().find_class(module, name)
        if module.partition(".")[0] in _DANGEROUS or "." in name or name == "_load_from_bytes":
            raise Dangerous(f"{module}.{name}")
        return type("StandIn", (StandIn,), {"name": f"{module}.{name}"})


def load(file: Any, **options: Any) -> Any:
    """Unpickle one object from a file, as `pickle.load`."""
    return Unpickler(file, **options).load()


def loads(data: bytes, **options: Any) -> Any:
    """Refuse: torch.load has no use for it."""
    raise Dangerous("nested pickles")
