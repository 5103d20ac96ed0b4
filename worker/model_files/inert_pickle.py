"""An unpickler that describes tensors and makes nothing else: other objects become stand-ins, and no code runs.

It replaces `torch.load`, which was rejected for two reasons: with `weights_only` it refuses a file for every object
that it does not know, and checkpoints of Lightning or timm hold paths, enums and arguments of the command line; and
with or without it, a file of a few bytes can make it fill the memory (`bytearray(10**11)`, a storage without data).

Here nothing in a pickle is called, so its safety depends on no list of names. The list of dangerous names only lets a
file be refused whose author meant harm. The cost of a pickle is bounded by its length.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any, ClassVar

import torch

_MOST_NAMES = 10_000
"""Different classes and functions that a pickle may name; checkpoints name a few dozen."""
_MOST_DIMENSIONS = 64
_DTYPES = {
    "FloatStorage": torch.float32, "DoubleStorage": torch.float64, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64, "ComplexDoubleStorage": torch.complex128, "UntypedStorage": torch.uint8,
}  # fmt: skip
_BUILTINS = ("builtins", "__builtin__")
_SYSTEM = ("os", "posix", "nt")
_RESULTS = {"stat_result", "statvfs_result", "terminal_size", "uname_result", "times_result", "PathLike", "_Environ"}
"""Classes of values in the modules of the system; all else there is a function that does something."""
_FUNCTIONS = {"eval", "exec", "execfile", "compile", "__import__", "open", "file", "input", "breakpoint", "reload"}
"""Built-in functions that run or read something."""
_DANGEROUS = {
    "subprocess", "_posixsubprocess", "commands.getoutput", "commands.getstatusoutput", "pty", "importlib", "imp",
    "zipimport", "runpy", "code.interact", "code.InteractiveInterpreter", "ctypes", "_ctypes", "cffi", "socket",
    "_socket", "socketserver", "ssl", "shutil", "webbrowser", "pip", "timeit", "pdb", "bdb", "cProfile.run",
    "profile.run", "codeop", "marshal", "pickle.load", "pickle.loads", "pickle.Unpickler", "_pickle.load",
    "_pickle.loads", "_pickle.Unpickler", "cPickle", "dill.load", "dill.loads", "cloudpickle.load",
    "cloudpickle.loads", "joblib.load", "numpy.load", "shelve", "asyncio.subprocess", "urllib", "urllib2", "http",
    "ftplib", "smtplib", "telnetlib", "requests", "httpx", "sys.exit", "sys.modules", "sys.settrace",
    "sys.setprofile", "torch.hub", "torch.jit", "torch.package", "torch.load", "torch.serialization.load",
    "torch.ops", "torch.storage._load_from_bytes", "torch.utils.cpp_extension",
}  # fmt: skip
"""What only an attack has a use for in a file of weights: modules with all below them, and single functions."""


class Dangerous(pickle.UnpicklingError):
    """A name in a pickle that only a program would use."""


@dataclass(frozen=True, slots=True)
class StandIn:
    """Stands for a class, a function, and whatever a pickle makes with them; it keeps nothing."""

    name: str
    """The module and name, as the pickle has them."""

    def append(self, value: object) -> None:
        """Take an element, as a list."""

    def extend(self, values: object) -> None:
        """Take elements, as a list."""


@dataclass(frozen=True, slots=True)
class Storage:
    """A piece of the file that holds numbers."""

    dtype: torch.dtype
    key: str
    length: int
    """Numbers in the piece."""
    first: int = 0
    """Numbers before those that a view of the piece shows."""


@dataclass(frozen=True, slots=True)
class Described:
    """A tensor whose numbers are not yet read."""

    storage: Storage
    dtype: torch.dtype
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Maker:
    """A known name, with what it makes of its arguments."""

    name: str
    make: Callable[..., Any]


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> Any:
    """Describe a tensor; `rest` is whether it learns, its hooks, and flags such as conjugation."""
    return _describe(storage, offset, size, stride, rest[2:], getattr(storage, "dtype", None))


def _tensor_v3(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> Any:
    """Describe a tensor of a type that has no class of storages: `rest` has it after the hooks."""
    return _describe(storage, offset, size, stride, rest[3:], rest[2])


def _describe(storage: Any, offset: Any, size: Any, stride: Any, flags: Any, dtype: Any) -> Any:
    if not isinstance(storage, Storage) or not isinstance(dtype, torch.dtype) or any(flags):
        return StandIn("torch._utils._rebuild_tensor of another kind")
    if not isinstance(size, tuple) or not isinstance(stride, tuple) or not len(size) == len(stride) <= _MOST_DIMENSIONS:
        raise pickle.UnpicklingError("a tensor without a shape")
    # Before any product: numbers of a million digits can be written in a pickle.
    if not all(type(number) is int and 0 <= number < 2**62 for number in (offset, *size, *stride)):
        raise pickle.UnpicklingError("a shape that is none")
    return Described(storage, dtype, offset, size, stride)


def _inner(data: Any, *_: Any) -> Any:
    """Return the tensor of a parameter; attributes beside it are dropped, which could replace methods of the tensor."""
    return data if isinstance(data, Described) else StandIn("torch.nn.parameter.Parameter")


def _from_type(maker: Any, kind: Any, arguments: Any, *_: Any) -> Any:
    """Return a tensor that has attributes, without them; a tensor of another class stays a stand-in."""
    plain = isinstance(kind, _Maker) and isinstance(maker, _Maker) and maker.make in (_tensor, _tensor_v3, _inner)
    return _made(maker, arguments) if plain else StandIn("torch._utils._rebuild_from_type_v2")


def _new(maker: Any, *arguments: Any) -> Any:
    return _made(maker, arguments)


def _mapping(items: Any = None, *_: Any) -> dict[str, Any]:
    if not isinstance(items, list):
        return {}
    made = {pair[0]: pair[1] for pair in items if _is_pair(pair)}
    items.clear()  # or a pickle could copy one long list again and again, for three bytes each time
    return made


def _is_pair(pair: Any) -> bool:
    return isinstance(pair, list | tuple) and len(pair) == 2 and isinstance(pair[0], str)


def _same(value: Any = (), *_: Any) -> Any:
    return value if isinstance(value, tuple) else ()


_MAKERS: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_v3,
    "torch._utils._rebuild_parameter": _inner,
    "torch._utils._rebuild_parameter_with_state": _inner,
    "torch.nn.parameter.Parameter": _inner,
    "torch._tensor._rebuild_from_type_v2": _from_type,
    "torch.Tensor": _inner,
    "torch.Size": _same,
    "copyreg.__newobj__": _new,
    "copy_reg.__newobj__": _new,
    "collections.OrderedDict": _mapping,
    "collections.defaultdict": lambda *_: {},
    "builtins.dict": _mapping,
    "__builtin__.dict": _mapping,
}
"""What a pickled state dict is made with."""


def is_tensor(value: object) -> bool:
    """Return True for a tensor, and for what stands for one of a kind that cannot be used."""
    return isinstance(value, Described) or (
        isinstance(value, StandIn) and value.name.startswith("torch._utils._rebuil")
    )


def _made(function: Any, arguments: Any) -> Any:
    """Return what a call in a pickle makes: a tensor's description, a dictionary or a stand-in."""
    if isinstance(function, _Maker):
        if not isinstance(arguments, tuple) or len(arguments) > _MOST_DIMENSIONS:
            raise pickle.UnpicklingError(f"a call of {function.name} without arguments")
        return function.make(*arguments)
    return function if isinstance(function, StandIn) else StandIn("an object")


_Python: Any = pickle._Unpickler  # noqa: SLF001
"""Python's unpickler in Python; the one in C fills the memory for an object that is remembered under a large number."""


class Unpickler(_Python):
    """Reads a pickle without calling anything in it; `encoding` as for pickle."""

    def __init__(self, file: IO[bytes], encoding: str = "utf-8") -> None:
        super().__init__(file, encoding=encoding)
        self._known: dict[str, Any] = {}
        self.widths: dict[str, int] = {}
        """Bytes of a number, by the key of its storage."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what makes a tensor, or a stand-in, the same for the same name; raises Dangerous."""
        full = f"{module}.{name}"
        if full not in self._known:
            if len(self._known) >= _MOST_NAMES:
                raise pickle.UnpicklingError(f"it names more than {_MOST_NAMES} classes")
            self._known[full] = _find(module, name)
        return self._known[full]

    def persistent_load(self, pid: Any) -> Any:
        """Return the storage that a pickle names, or the class whose source text lies beside it."""
        if not isinstance(pid, tuple) or not 2 <= len(pid) <= 6:
            raise pickle.UnpicklingError("a reference to nothing")
        if _text(pid[0]) == "module":
            return pid[1] if isinstance(pid[1], StandIn) else StandIn("a module")
        _, kind, key, _, length, *view = pid
        if not isinstance(kind, torch.dtype):
            return StandIn("torch.Storage")
        first = 0
        if view and view[0] is not None:
            _, first, length = view[0]
        if not all(type(number) is int and 0 <= number < 2**62 for number in (first, length)):
            raise pickle.UnpicklingError("a storage without a length")
        self.widths.setdefault(_text(key), kind.itemsize)
        return Storage(kind, _text(key), length, first)

    def _reduce(self) -> None:
        arguments = self.stack.pop()
        self.stack[-1] = _made(self.stack[-1], arguments)

    def _reduce_named(self) -> None:
        self.stack.pop()
        self._reduce()

    def _inst(self) -> None:
        module, name = (self.readline()[:-1].decode("utf-8") for _ in range(2))
        arguments = tuple(self.pop_mark())
        self.stack.append(_made(self.find_class(module, name), arguments))

    def _obj(self) -> None:
        function, *arguments = self.pop_mark()
        self.stack.append(_made(function, tuple(arguments)))

    def _drop(self) -> None:
        self.stack.pop()

    def _set_items(self) -> None:
        self._set(self.pop_mark())

    def _set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set([key, value])

    def _set(self, items: list[Any]) -> None:
        """Keep values by text: numbers as keys, which no weights have, can be chosen to make a dictionary slow."""
        target = self.stack[-1]
        if isinstance(target, dict):
            target.update((key, value) for key, value in zip(items[::2], items[1::2], strict=True) if type(key) is str)
        elif not isinstance(target, StandIn):
            raise pickle.UnpicklingError("items of no dictionary")

    def _dict(self) -> None:
        items = self.pop_mark()
        self.stack.append({})
        self._set(items)

    def _set_of_items(self) -> None:
        self.stack.append(StandIn("builtins.set"))

    def _frozen(self) -> None:
        self.pop_mark()
        self._set_of_items()

    def _add(self) -> None:
        self.pop_mark()

    def _refused(self) -> None:
        raise pickle.UnpicklingError("an instruction that torch.save does not write")

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        **_Python.dispatch,
        pickle.REDUCE[0]: _reduce,
        pickle.NEWOBJ[0]: _reduce,
        pickle.NEWOBJ_EX[0]: _reduce_named,
        pickle.INST[0]: _inst,
        pickle.OBJ[0]: _obj,
        pickle.BUILD[0]: _drop,
        pickle.SETITEM[0]: _set_item,
        pickle.SETITEMS[0]: _set_items,
        pickle.DICT[0]: _dict,
        pickle.EMPTY_SET[0]: _set_of_items,
        pickle.ADDITEMS[0]: _add,
        pickle.FROZENSET[0]: _frozen,
        pickle.BYTEARRAY8[0]: _refused,  # it fills the memory before it finds the file too short
        pickle.EXT1[0]: _refused,
        pickle.EXT2[0]: _refused,
        pickle.EXT4[0]: _refused,
    }


def _find(module: str, name: str) -> Any:
    full = f"{module}.{name}"
    if full in _MAKERS:
        return _Maker(full, _MAKERS[full])
    if module in ("torch", "torch.cuda", "torch.storage") and name in _DTYPES:
        return _DTYPES[name]
    if module == "torch" and isinstance(
        vars(torch).get(name), torch.dtype
    ):  # getattr would import what torch has lazily
        return vars(torch)[name]
    parts = full.split(".", _MOST_DIMENSIONS)
    if any(".".join(parts[:count]) in _DANGEROUS for count in range(1, len(parts) + 1)):
        raise Dangerous(full)
    if (module in _SYSTEM and name not in _RESULTS) or (module in _BUILTINS and parts[1] in _FUNCTIONS):
        raise Dangerous(full)
    return StandIn(full)


def _text(value: Any) -> str:
    return value.decode("ascii") if isinstance(value, bytes) else str(value) if isinstance(value, str | int) else ""
