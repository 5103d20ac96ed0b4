"""Weights of a network: put into it, checked, and stored as safetensors."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import safetensors.torch
import torch
from torch import nn

from shared.domain.counted import counted
from shared.domain.preprocessing import Preprocessing
from shared.errors import BadWeights
from worker import families
from worker.families import Config, Family, Weights


def assemble(
    family: Family, architecture: str, preprocessing: Preprocessing, state: Weights, config: Config = families.NO_CONFIG
) -> nn.Module:
    """Build the network with these weights, in eval mode, on the CPU; it has as many outputs as the weights."""
    with families.hollow(family):
        network = family.build(architecture, 1000, preprocessing.crop, config)
        weight = state.get(f"{families.head(network)[0]}.weight")
        if weight is not None and weight.ndim > 0:
            network = family.build(architecture, len(weight), preprocessing.crop, config)
    fit(network, state)
    return network.eval().requires_grad_(False)


def restore(family: Family, architecture: str, preprocessing: Preprocessing, data: bytes, config: Config) -> nn.Module:
    """Return the plain network of a version's stored file, in eval mode, on the CPU; raises BadWeights."""
    if family.FORMAT == "onnx":
        from worker.families import onnx

        return onnx.open_graph(data, config)
    return assemble(family, architecture, preprocessing, safetensors.torch.load(data), config)


def outputs(network: nn.Module) -> int:
    """Return the number of logits of the network."""
    if isinstance(number := getattr(network, "outputs", None), int):  # a graph has no layers
        return number
    layer = families.penultimate(network)
    return int(layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels)  # type: ignore[arg-type]


def fit(network: nn.Module, state: Weights) -> None:
    """Load the weights into the network; raises BadWeights unless names and shapes agree exactly.

    Half precision is widened to float32. Batch counters, which only training uses, may be missing.
    """
    own = network.state_dict()
    missing = [name for name in own if name not in state and not name.endswith("num_batches_tracked")]
    extra = [name for name in state if name not in own]
    wrong = [
        f"{name}: {_describe(state[name])} instead of {_describe(own[name])}"
        for name in own
        if name in state and _kind(state[name]) != _kind(own[name])
    ]
    faults = (
        _count_names(missing, "missing")
        + _count_names(extra, "not part of it")
        + _count_names(wrong, "of another shape or type")
    )
    if faults:
        raise BadWeights(
            f"The weights do not fit the architecture; of the tensors it wants, {'; '.join(faults)}. "
            "Check that the architecture is the one that was trained."
        )
    # Into the network's own state dict, because that carries the version metadata without which torchvision takes the
    # names for old ones, and MNASNet refuses.
    own.update({name: state.get(name, torch.tensor(0)).to(tensor.dtype) for name, tensor in own.items()})
    network.load_state_dict(own, assign=True)


def _kind(tensor: torch.Tensor) -> tuple[torch.Size, bool]:
    return tensor.shape, tensor.is_floating_point()


def _describe(tensor: torch.Tensor) -> str:
    return f"{tuple(tensor.shape)}{'' if tensor.is_floating_point() else ' integers'}"


def _count_names(names: Sequence[str], fault: str) -> list[str]:
    """Return the fault with its count and the first three names, or an empty list if there are no names."""
    if not names:
        return []
    more = f", and {len(names) - 3} more" if len(names) > 3 else ""
    return [f"{len(names)} {'is' if len(names) == 1 else 'are'} {fault} ({', '.join(names[:3])}{more})"]


def write(state: Weights, path: Path) -> str:
    """Write safetensors, the same bytes for the same tensors; returns the SHA-256 in hex."""
    # Cloned, because safetensors refuses tensors that share memory, as tied weights do.
    separate = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
    safetensors.torch.save_file(separate, path)
    return checksum(path)


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_labels(count: int, labels: Sequence[str]) -> None:
    """Raise BadWeights unless there is one non-empty label per output.

    Labels may repeat: lists of ImageNet's have `crane` for the bird and for the machine.
    """
    if len(labels) != count:
        given = f"{counted(len(labels), 'label')} {'was' if len(labels) == 1 else 'were'}"
        raise BadWeights(f"The weights have {counted(count, 'output')}, but {given} given.")
    for number, label in enumerate(labels, 1):
        if not label.strip():
            raise BadWeights(f"Label {number} is empty; each of the {count} outputs needs one.")
