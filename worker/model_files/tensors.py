"""Tensors by name, from safetensors and from PyTorch's files and checkpoints, read without running code in them."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from shared.errors import BadWeights
from worker.families import Weights
from worker.model_files import inert_pickle, refused, torch_files
from worker.model_files.inert_pickle import Described, StandIn
from worker.model_files.model_file import ModelFile

_NOT_WEIGHTS = {
    "opt", "opt_state", "optim", "optims", "optim_state", "optim_state_dict", "scaler", "scalers", "scaler_state_dict",
    "amp_scaler", "grad_scaler", "loops", "callbacks", "hyper_parameters", "hparams",
}  # fmt: skip
"""Keys under which training scripts store other state than weights."""
_NOT_WEIGHTS_STARTS = ("optimizer", "optimiser", "scheduler", "lr_sched")
"""Beginnings of such keys, as in `optimizer_states`."""
_TOP = "."
"""The --state-key of the tensors that lie beside other sets, at the top of the file."""
_COUNTERS = ("n_averaged", "_metadata")
"""What torch's AveragedModel and state dicts hold beside tensors."""
_DEPTH = 4
"""Maximum depth of the dictionaries in a checkpoint."""
_COMPLETE = 0.5
"""A set with fewer tensors than this share of the largest is no network, but for example the state of a loss."""


def is_checkpoint(names: Collection[str]) -> bool:
    """Return True for the members of a zip that `torch.save` wrote."""
    return any(name.endswith("/data.pkl") or name == "data.pkl" for name in names)


def read_safetensors(path: Path) -> Weights:
    """Return the tensors of a safetensors file; raises BadWeights."""
    try:
        return safetensors.torch.load_file(path)
    except Exception as error:  # SafetensorError, or ValueError and KeyError for dtypes that torch lacks
        raise BadWeights(f"The safetensors file cannot be read: {error}.") from error


def read_checkpoint(path: Path) -> ModelFile:
    """Return the sets of tensors in a file of `torch.save`, by key; raises BadWeights.

    Other objects in it, as Lightning and timm's training script store them, become inert stand-ins.
    """
    try:
        file = torch_files.open_file(path)
        refused.check_objects(file.content)
        sets = {key: _read_set(file, values) for key, values in _sets(file.content)}
    except BadWeights:
        raise
    except inert_pickle.Dangerous as error:
        raise BadWeights(
            f"Loading the weights could run code (the file names {error}), so they were not loaded. "
            "Save the tensors alone, torch.save(model.state_dict(), FILE), or use safetensors."
        ) from error
    except Exception as error:  # a damaged pickle or zip raises a dozen types of error
        raise BadWeights(
            "The file is neither safetensors nor ONNX nor a PyTorch weights file, or it is damaged "
            f"({str(error).splitlines()[0] if str(error) else type(error).__name__})."
        ) from error
    if not sets:
        raise BadWeights("The file holds no tensors by name. Save them with torch.save(model.state_dict(), FILE).")
    return ModelFile(sets=sets)


def _read_set(file: torch_files.TorchFile, values: Mapping[str, Any]) -> Weights:
    """Return the tensors; what is none stays in its place, for `check` to name it."""
    return {name: file.tensor(value) if isinstance(value, Described) else value for name, value in values.items()}


def _sets(content: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield key and values of each dictionary of tensors in a checkpoint; nested keys are joined by dots.

    Tensors beside dictionaries are a set of their own: weights at the top, with averaged ones under a key.
    """
    seen: set[int] = set()  # of the dictionaries: one that holds itself would be walked again and again
    left = deque([("", content, 0)])
    while left:
        key, values, depth = left.popleft()
        if not isinstance(values, dict) or id(values) in seen:
            continue
        seen.add(id(values))
        own = {name: value for name, value in values.items() if not isinstance(value, dict) and name not in _COUNTERS}
        if any(_is_weight(value) for value in own.values()):
            yield key, own
        if depth < _DEPTH:
            inner = ((name, value) for name, value in values.items() if not _is_other_state(name))
            left.extend((f"{key}.{name}" if key else name, value, depth + 1) for name, value in inner)


def _is_weight(value: object) -> bool:
    """Return False for single numbers, which are metrics and counters where no other tensor is beside them."""
    return inert_pickle.is_tensor(value) and getattr(value, "size", (1,)) != ()


def _is_other_state(name: str) -> bool:
    """Return True for the key of an optimizer and the like, but not for `optimal` or `optimized_model`."""
    lower = name.lower()
    return lower in _NOT_WEIGHTS or lower.startswith(_NOT_WEIGHTS_STARTS)


def check(state: Weights, file_size: int) -> None:
    """Raise BadWeights unless all values are plain, finite tensors, together no larger than the file."""
    for name, tensor in state.items():
        if type(tensor) not in (torch.Tensor, nn.Parameter):
            kind = tensor.name if isinstance(tensor, StandIn) else type(tensor).__name__
            raise BadWeights(f"{name!r} is not a tensor but {kind}; the file must hold tensors alone.")
        if tensor.layout is not torch.strided or tensor.device.type != "cpu" or tensor.is_quantized:
            raise BadWeights(f"{name!r} is a sparse, quantized or empty-device tensor; only plain ones can be used.")
        # A single stored number can be declared as a tensor of any size (stride 0), which fills the memory when used.
        if tensor.numel() * tensor.element_size() > file_size:
            raise BadWeights(f"{name!r} claims to be larger than the whole file.")
        if tensor.is_floating_point() and not torch.isfinite(tensor.float()).all():
            raise BadWeights(f"{name!r} contains NaN or infinite values.")


def choose(file: ModelFile, state_key: str) -> Weights:
    """Return the set of that key, or the only complete set; raises BadWeights naming the sets if none is chosen.

    A key may also be the beginning of the names of one network in a set that holds several: `student`.
    """
    sets = file.sets
    if not state_key:
        return _only(sets)
    key = "" if state_key == _TOP else state_key
    if key in sets:
        return sets[key]
    found = [state for state in (_below(state, state_key) for state in sets.values()) if state]
    if len(found) != 1:
        raise BadWeights(f"The file has no set of weights {state_key!r}; it has: {_describe(sets)}.")
    return found[0]


def _only(sets: Mapping[str, Weights]) -> Weights:
    """Return the set that alone has enough tensors to be a network; raises BadWeights if there are several."""
    most = max(map(len, sets.values()))
    complete = {key: state for key, state in sets.items() if len(state) >= _COMPLETE * most}
    if len(complete) > 1:
        raise BadWeights(
            f"The file holds several sets of weights: {_describe(sets)}. Name the one to take: `state_key` "
            f"{list(complete)[-1] or _TOP}"
        )
    return next(iter(complete.values()))


def _below(state: Weights, prefix: str) -> Weights:
    start = f"{prefix.rstrip('.')}."
    return {name.removeprefix(start): tensor for name, tensor in state.items() if name.startswith(start)}


def _describe(sets: Mapping[str, Weights]) -> str:
    nameless = f"(at the top, `state_key` {_TOP})" if len(sets) > 1 else "(without a name)"
    return ", ".join(f"{key or nameless} ({len(state)} tensors)" for key, state in sets.items())


def without_prefix(state: Weights) -> Weights:
    """Return the tensors without the beginning that a wrapper gave to all their names.

    DataParallel, torch.compile and Lightning call the network `module`, `_orig_mod`, `model` or `net`.
    """
    while len(firsts := {name.partition(".")[0] for name in state}) == 1 and firsts <= _WRAPPERS:
        state = _below(state, firsts.pop())
    return state


_WRAPPERS = {"module", "_orig_mod", "model", "net", "network", "backbone"}


def fitting(
    state: Weights, wanted: Collection[str], adapt: Callable[[Weights], Weights] = lambda state: state
) -> Weights:
    """Return the tensors that have the names of the network, under one common prefix; the others are left out.

    A LightningModule holds the network as one of its attributes, of any name, beside losses and metrics. `adapt` gives
    older names the present ones; it sees the names below a prefix, since it knows them from their beginning. If no
    prefix gives all names, all tensors are returned; raises BadWeights if several do, as for a teacher and a student.
    """
    adapted = adapt(state)
    needed = [name for name in wanted if not name.endswith("num_batches_tracked")]
    if all(name in adapted for name in needed):
        return adapted
    complete = {}
    for prefix in _prefixes(state, len(needed)):
        below = adapt(_below(state, prefix))
        if all(name in below for name in needed):
            complete[prefix] = below
    if len(complete) > 1:
        raise BadWeights(
            f"The file holds the network several times: {', '.join(complete)}. Name the one to take: `state_key` "
            f"{list(complete)[-1]}"
        )
    return next(iter(complete.values()), adapted)


def _prefixes(state: Weights, least: int) -> list[str]:
    """Return the beginnings, up to a dot, that at least so many names have."""
    counts: Counter[str] = Counter()
    for name in state:
        parts = name.split(".", _DEEPEST)[:-1]
        counts.update(".".join(parts[:count]) for count in range(1, len(parts) + 1))
    return [prefix for prefix, count in counts.items() if count >= least]


_DEEPEST = 8
"""Maximum number of names in a prefix; names may be long enough that trying all would take hours."""
