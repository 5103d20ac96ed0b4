"""Files of torch.save: read without calling anything, at a cost that their size bounds, and never half understood."""

from __future__ import annotations

import argparse
import collections
import enum
import functools
import io
import pathlib
import pickle
import resource
import signal
import struct
import tarfile
import types
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision

from shared.domain.models import ImportOptions
from shared.errors import BadWeights
from tests.unit.model_file_reader import read_weights
from worker import examination, families, model_files
from worker.examination import Examined, Wanted
from worker.families import Weights
from worker.model_files import tensors, torch_files

pytestmark = pytest.mark.slow

STATE = {"a.weight": torch.arange(4.0).reshape(2, 2), "a.bias": torch.ones(2)}
LABELS = ("ant", "bee", "cat")


def saved(content: object, path: Path, zipped: bool = True) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


def pickled(instructions: bytes, path: Path, keys: list[str] | None = None) -> Path:
    """Write a file as old as they come, whose content is a pickle of these instructions."""
    heads = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    path.write_bytes(b"".join(pickle.dumps(head, 2) for head in heads) + instructions + pickle.dumps(keys or [], 2))
    return path


def refusal(path: Path) -> str:
    with pytest.raises(BadWeights) as caught:
        read_weights(path)
    return caught.value.message


def sets(path: Path) -> dict[str, Weights]:
    return dict(model_files.read(path, path.parent).sets)


# the tensors


class Attributed(torch.nn.Module):
    """A module with everything that a state dict may hold."""

    def __init__(self) -> None:
        super().__init__()
        whole = torch.randn(6, 5)
        self.view = torch.nn.Parameter(whole[2:, 1:3])
        self.turned = torch.nn.Parameter(whole.T)
        self.marked = torch.nn.Parameter(torch.randn(3))
        self.marked.note = "an attribute"  # type: ignore[attr-defined]
        self.register_buffer("none", torch.empty(0, 3))
        self.register_buffer("one", torch.tensor(7))


@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_of_every_kind_are_those_that_were_saved(tmp_path: Path, zipped: bool) -> None:
    dtypes = [torch.float64, torch.float16, torch.bfloat16, torch.int8, torch.uint8, torch.int16, torch.int32,
              torch.int64, torch.bool, torch.uint16, torch.complex64]  # fmt: skip
    module = Attributed()
    state = {f"{dtype}": torch.ones(3).to(dtype) for dtype in dtypes} | dict(module.state_dict())
    state |= dict(module.named_parameters())
    path = saved(state, tmp_path / "w.pth", zipped)
    read = sets(path)[""]
    assert read.keys() == state.keys()
    for name, tensor in state.items():
        assert read[name].dtype == tensor.dtype
        assert torch.equal(read[name], tensor), name


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol_of_pickle_is_read(tmp_path: Path, protocol: int) -> None:
    content = {"state_dict": collections.OrderedDict(STATE), "classes": {"a", "b"}, "path": pathlib.PurePosixPath("x")}
    torch.save(content, tmp_path / "w.pth", pickle_protocol=protocol)
    assert torch.equal(sets(tmp_path / "w.pth")["state_dict"]["a.weight"], STATE["a.weight"])


# objects beside the tensors


class Colour(enum.Enum):
    """A choice in a training script."""

    RED = 1


class Script:
    """Stands for a class of a training script."""

    class Inner:
        """Stands for a class inside another."""

    def method(self) -> None:
        """Do nothing."""


@pytest.mark.parametrize(
    "other",
    [
        Colour.RED, types.SimpleNamespace(lr=1), collections.defaultdict(int, {"a": 1}), {"type": int},
        {"types": (str, range, type(None))}, functools.partial(print), argparse.Namespace(path=pathlib.Path("x")),
        Script.Inner(), Script().method, signal.SIGINT, torch.nn.ReLU(), collections.Counter("aab"),
        {1: 2, "b": {3, 4}},
    ],
    ids=lambda other: type(other).__name__,
)  # fmt: skip
def test_harmless_objects_beside_the_tensors_are_left_out(tmp_path: Path, other: object) -> None:
    assert sets(saved({"state_dict": STATE, "other": other}, tmp_path / "w.pth")).keys() == {"state_dict"}


@pytest.mark.parametrize(
    "name",
    [
        "posix system", "os execv", "nt system", "subprocess Popen", "builtins eval", "__builtin__ exec",
        "builtins __import__", "builtins open", "importlib import_module", "runpy run_path", "socket socket",
        "shutil rmtree", "ctypes CDLL", "pickle loads", "marshal loads", "webbrowser open", "pty spawn",
        "torch.storage _load_from_bytes", "torch.hub load", "torch.jit._serialization load", "builtins eval.__call__",
    ],
)  # fmt: skip
def test_functions_of_the_system_are_refused_by_name(tmp_path: Path, name: str) -> None:
    module, function = name.split()
    path = pickled(f"\x80\x02}}U\x01xc{module}\n{function}\ns.".encode("latin1"), tmp_path / "w")
    assert f"could run code (the file names {module}.{function})" in refusal(path)


# the cost


def _called(name: bytes, number: int) -> bytes:
    """Return instructions for `list(NAME(NUMBER))`."""
    return b"\x80\x02cbuiltins\nlist\n(c%s\n(I%d\ntRtR." % (name, number)


_COPY = b"ccollections\nOrderedDict\nh\x00\x85R"
_STORAGE = b"(U\x07storagectorch\nFloatStorage\nU\x010U\x03cpuL%dL\nNtQ"
_TENSOR = b"\x80\x02}U\x01actorch._utils\n_rebuild_tensor\n(" + _STORAGE + b"I0\n(L%dL\nt(I1\nttRs."


@pytest.mark.parametrize(
    "instructions",
    [
        _called(b"builtins\nrange", 60_000_000),
        _called(b"builtins\nbytearray", 500_000_000),
        _called(b"torch.storage\nUntypedStorage", 20_000_000_000),
        b"\x80\x02" + _STORAGE % 400_000_000 + b".",
        _TENSOR % (400_000_000, 400_000_000),
        _TENSOR % (0, 400_000_000),
        b"\x80\x02]r\xff\xff\xff\x0f.",
        b"\x80\x05\x96" + struct.pack("<Q", 3_000_000_000) + b".",
        b"\x80\x02(" + b"ca\nb\n" * 300_000 + b"t0}.",
        b"\x80\x02]q\x00(" + b"U\x01aN\x86" * 20_000 + b"e0(" + _COPY * 2_000 + b"t.",
    ],
    ids=["range", "bytearray", "untyped", "storage", "tensor", "resized", "memo", "bytearray8", "names", "copies"],
)  # fmt: skip
def test_a_small_file_cannot_fill_the_memory(tmp_path: Path, instructions: bytes) -> None:
    path = pickled(instructions, tmp_path / "w", ["0"] if b"storage" in instructions else None)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert refusal(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


def test_a_file_that_names_thousands_of_classes_is_refused(tmp_path: Path) -> None:
    names = b"".join(b"ca\n%d\n0" % number for number in range(10_001))
    assert "more than 10000 classes" in refusal(pickled(b"\x80\x02" + names + b"}.", tmp_path / "w"))


@pytest.mark.parametrize("numbers", [100, 10**9])
def test_a_storage_is_no_larger_than_its_part_of_the_file(tmp_path: Path, numbers: int) -> None:
    original = io.BytesIO()
    torch.save({"a": torch.ones(50)}, original)
    with zipfile.ZipFile(original) as source, zipfile.ZipFile(tmp_path / "w", "w") as target:
        for info in source.infolist():
            changed = source.read(info).replace(b"K\x32", b"J" + struct.pack("<i", numbers))
            target.writestr(info.filename, changed)
    assert "more numbers than the file" in refusal(tmp_path / "w")


def test_a_compressed_file_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "w", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + b"N0" * 10_000_000 + b"}.")
    assert "compressed" in refusal(tmp_path / "w")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_long_pickle_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zipped: bool) -> None:
    path = saved({"state_dict": STATE, "log": "x" * 5000}, tmp_path / "w", zipped)
    assert read_weights(path).keys() == STATE.keys()
    monkeypatch.setattr(torch_files, "_MAX_PICKLE", 5000)
    assert refusal(path)


def test_a_dictionary_that_holds_itself_is_walked_once(tmp_path: Path) -> None:
    items = b"".join(b"U\x04%04dh\x00" % number for number in range(600))
    assert "no tensors by name" in refusal(pickled(b"\x80\x02}q\x00(" + items + b"u.", tmp_path / "w"))


class Rebuilt:
    """One number declared as a large parameter, whose attributes would hide that."""

    def __reduce__(self) -> tuple[object, ...]:
        large = torch.ones(1).expand(40_000, 10_000)
        state = {"numel": bool, "element_size": bool}
        return torch._utils._rebuild_parameter_with_state, (large, False, collections.OrderedDict(), state)


def test_the_attributes_of_a_parameter_do_not_hide_its_size(tmp_path: Path) -> None:
    path = saved({"a": Rebuilt(), "other": argparse.Namespace()}, tmp_path / "w")
    assert "larger than the whole file" in refusal(path)


def test_a_tar_archive_is_refused_with_the_conversion(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "w", "w") as archive:
        archive.addfile(tarfile.TarInfo("storages"))
    message = refusal(tmp_path / "w")
    assert "torch.save(torch.load('FILE', weights_only=False), 'weights.pth')" in message
    assert "Re-running" not in message


# several sets


def test_tensors_beside_a_set_are_a_set_of_their_own(tmp_path: Path) -> None:
    averaged = {name: tensor + 1 for name, tensor in STATE.items()}
    path = saved({**STATE, "ema": averaged}, tmp_path / "w")
    message = refusal(path)
    assert "(at the top, `state_key` .) (2 tensors), ema (2 tensors)" in message
    assert torch.equal(tensors.choose(model_files.read(path, tmp_path), ".")["a.bias"], torch.ones(2))


@pytest.mark.parametrize(
    "beside", [{"meta": {"classes": ["a"]}}, {"args": {}}, {"metrics": {"loss": torch.tensor(1.0)}}]
)
def test_dictionaries_without_weights_are_ignored(tmp_path: Path, beside: dict[str, Any]) -> None:
    assert read_weights(saved({**STATE, **beside}, tmp_path / "w")).keys() == STATE.keys()


def test_a_metric_beside_the_set_is_no_set(tmp_path: Path) -> None:
    content = {"epoch": 3, "best": torch.tensor(0.5), "state_dict": STATE}
    assert read_weights(saved(content, tmp_path / "w")).keys() == STATE.keys()


def test_only_the_state_of_an_optimizer_is_passed_over(tmp_path: Path) -> None:
    others = ("optimizer", "optim", "optimizer_states", "Optimizer_G", "scheduler", "lr_scheduler", "lr_schedulers")
    content = {"last": STATE, "optimal": STATE.copy(), "optimized_model": STATE.copy()}
    path = saved(content | {name: STATE.copy() for name in others}, tmp_path / "w")
    assert sets(path).keys() == content.keys()
    assert "`state_key` optimized_model" in refusal(path)


def network(architecture: str, **options: Any) -> Weights:
    torch.manual_seed(0)
    return dict(torchvision.models.get_model(architecture, num_classes=3, **options).state_dict())


def examined(content: object, folder: Path, architecture: str, key: str = "") -> Examined:
    path = saved(content, folder / "w.ckpt")
    return examination.examine(path, folder, Wanted(architecture, LABELS, options=ImportOptions(key)))


def test_a_student_is_found_beside_a_larger_teacher(tmp_path: Path) -> None:
    content = {"teacher": network("resnet50"), "student": network("resnet18")}
    assert examined(content, tmp_path, "resnet18", "student").labels == LABELS


# old names below a prefix


def _old_densenet() -> Weights:
    new = network("densenet121")
    return {name.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): new[name] for name in new}


def _other_port() -> Weights:
    shipped = families.pretrained("tf_efficientnet_lite0")
    assert shipped
    assert shipped.path
    state = read_weights(shipped.path)
    return state | {"_fc.weight": state["_fc.weight"][:3], "_fc.bias": state["_fc.bias"][:3]}


@pytest.mark.parametrize("prefix", ["model.", "classifier.", "system.network."])
@pytest.mark.parametrize(
    ("architecture", "make"),
    [
        ("inception_v3", lambda: network("inception_v3", aux_logits=True, init_weights=False)),
        ("googlenet", lambda: network("googlenet", aux_logits=True, init_weights=False)),
        ("densenet121", _old_densenet),
        ("tf_efficientnet_lite0", _other_port),
    ],
)
def test_old_names_are_found_below_a_prefix(
    tmp_path: Path, architecture: str, make: Callable[[], Weights], prefix: str
) -> None:
    state = {f"{prefix}{name}": tensor for name, tensor in make().items()}
    assert examined({"state_dict": state | {"loss.weight": torch.ones(3)}}, tmp_path, architecture).labels == LABELS
