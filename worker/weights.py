"""Weights from untrusted files: read without executing code in them, checked, and stored as safetensors."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import safetensors.torch
import torch
from PIL import Image
from torch import nn

from shared.domain.preprocessing import Origin, Preprocessing, PreprocessingRequest, Preset, sides
from shared.errors import BadOption, BadWeights, Unavailable
from worker import families, preprocess
from worker.families import Config, Family, Pretrained, Weights

IMAGENET = "imagenet"
"""The name that stands for the thousand labels of ImageNet."""
_WRAPPERS = ("state_dict", "model_state_dict", "model")
_PREFIXES = ("module.", "_orig_mod.")
"""Prefixes that DataParallel and torch.compile add to every name."""
_STALL = 30.0
"""Seconds without a byte after which a running download is given up."""


@dataclass(frozen=True)
class Examined:
    """All results of examining an import that a model version stores."""

    family: str
    path: Path
    """The safetensors file that was written."""
    checksum: str
    """Its SHA-256, hex."""
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    preset: Preset | None
    """Where the preprocessing comes from; None if the caller passed it."""
    example_png: bytes
    example_logits: tuple[float, ...]
    """The first ten logits of the plain float32 network for that picture."""


def examine(
    architecture: str,
    path: Path,
    labels: Sequence[str] | str | None,
    preprocessing: Preprocessing | PreprocessingRequest | None,
    folder: Path,
    *,
    published: bool = False,
) -> Examined:
    """Turn a weights file into everything that a version needs; raises BadOption (architecture, preset) or BadWeights.

    No labels, or `imagenet`, means those that belong to the published weights of the architecture. `preprocessing` is
    used as it is, or is what an import asked for, see `choose_preprocessing`. `published` weights were just downloaded
    from their publisher. The safetensors file is written into `folder`.
    """
    family = families.find(architecture)
    recognised = family.identify(checksum(path))
    published_file = recognised or family.pretrained(architecture)
    preset = None
    if not isinstance(preprocessing, Preprocessing):
        preprocessing, preset = choose_preprocessing(family, architecture, preprocessing, recognised)
        if published and preset.origin is not Origin.REQUESTED and not preset.changed:
            preset = replace(preset, origin=Origin.PUBLISHED)
    state = family.adapt(architecture, read(path))
    network = assemble(family, architecture, preprocessing, state)
    chosen = _labels(labels, published_file, outputs(network))
    check_labels(outputs(network), chosen)
    png = example()
    logits = plain_logits(network, preprocessing, png)
    target = folder / "checked.safetensors"
    written = write(network.state_dict(), target)
    return Examined(families.name_of(family), target, written, chosen, preprocessing, preset, png, logits)


def choose_preprocessing(
    family: Family, architecture: str, request: PreprocessingRequest | None, recognised: Pretrained | None
) -> tuple[Preprocessing, Preset]:
    """Return the preprocessing for imported weights, and where it comes from; raises BadOption for an unknown preset.

    It is the preprocessing that the import requested; else that of the published file with the same checksum; else that
    of the architecture's default weights, which is reported to the importer as assumed.
    """
    request = request or PreprocessingRequest()
    presets = family.presets(architecture)
    if request.preset:
        base, name, origin = _find_preset(presets, request.preset, architecture), request.preset, Origin.REQUESTED
    elif request.complete:
        base, name, origin = None, "", Origin.REQUESTED
    elif recognised:
        base, name, origin = recognised.preprocessing, recognised.weights_name, Origin.RECOGNISED
    else:
        default = family.pretrained(architecture)
        base, name = family.preprocessing(architecture), default.weights_name if default else ""
        # Only timm's names have a dot, before a tag that names the weights and thereby their preprocessing.
        origin = Origin.REQUESTED if "." in architecture else Origin.ASSUMED
    return request.apply(base), Preset(name, origin, tuple(presets), tuple(request.values) if base else ())


def _find_preset(presets: Mapping[str, Preprocessing], name: str, architecture: str) -> Preprocessing:
    """Return a preset of the architecture by name, or that of any of torchvision's weights by its full name."""
    preset = presets.get(name) or families.torchvision_preset(name)
    if preset is None:
        own = f"{architecture} has {', '.join(presets)}" if presets else f"{architecture} has none"
        raise BadOption(
            f"There is no preset {name!r}: {own}; those of other architectures have names such as "
            "ResNet50_Weights.IMAGENET1K_V1, and timm's tags belong to timm's architectures (timm/resnet50). Without a "
            "preset, give resize, crop, mean and std."
        )
    return preset


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


def outputs(network: nn.Module) -> int:
    """Return the number of logits of the network."""
    layer = families.penultimate(network)
    return int(layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels)  # type: ignore[arg-type]


def read(path: Path) -> Weights:
    """Read tensors by name from a safetensors or PyTorch file, on the CPU; never runs code in it. Raises BadWeights."""
    with path.open("rb") as file:
        start = file.read(9)
    if len(start) < 9:
        raise BadWeights("The weights file is empty or cut off.")
    content = _safetensors(path) if start[8:] == b"{" else _pickled(path, zipped=start.startswith(b"PK"))
    state = _unwrap(content)
    _check_tensors(state, path.stat().st_size)
    return state


def _safetensors(path: Path) -> Weights:
    try:
        return safetensors.torch.load_file(path)
    except Exception as error:  # SafetensorError, or ValueError and KeyError for dtypes that torch lacks
        raise BadWeights(f"The safetensors file cannot be read: {error}.") from error


def _pickled(path: Path, zipped: bool) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        cause = f"the file names {named[1]}" if named else "the file is more than tensors, or no PyTorch file"
        raise BadWeights(
            f"Loading the weights could run code ({cause}), so they were not loaded. "
            "Save the tensors alone, torch.save(model.state_dict(), FILE), or use safetensors."
        ) from error
    except Exception as error:  # torch raises half a dozen types of error on damaged archives
        raise BadWeights(
            "The file is neither safetensors nor a PyTorch weights file, or it is damaged "
            f"({str(error).splitlines()[0] if str(error) else type(error).__name__})."
        ) from error


def _unwrap(content: Any) -> Weights:
    """Return the tensors from inside the dictionaries and name prefixes that training scripts add."""
    while isinstance(content, Mapping):
        inner = next((content[key] for key in _WRAPPERS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            break
        content = inner
    if not isinstance(content, Mapping) or not content:
        raise BadWeights("The file holds no tensors by name. Save them with torch.save(model.state_dict(), FILE).")
    state = {str(name): tensor for name, tensor in content.items()}
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state


def _check_tensors(state: Weights, file_size: int) -> None:
    for name, tensor in state.items():
        if type(tensor) not in (torch.Tensor, nn.Parameter):
            raise BadWeights(f"{name!r} is not a tensor but {type(tensor).__name__}; the file must hold tensors alone.")
        if tensor.layout is not torch.strided or tensor.device.type != "cpu" or tensor.is_quantized:
            raise BadWeights(f"{name!r} is a sparse, quantized or empty-device tensor; only plain ones can be used.")
        # A single stored number can be declared as a tensor of any size (stride 0), which fills the memory when used.
        if tensor.numel() * tensor.element_size() > file_size:
            raise BadWeights(f"{name!r} claims to be larger than the whole file.")
        if tensor.is_floating_point() and not torch.isfinite(tensor.float()).all():
            raise BadWeights(f"{name!r} contains NaN or infinite values.")


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


def _labels(labels: Sequence[str] | str | None, published_file: Pretrained | None, count: int) -> tuple[str, ...]:
    if labels and labels != IMAGENET:
        return tuple(labels)
    if published_file is None or len(published_file.labels) != count:
        raise BadWeights(
            f"The weights have {count} outputs, and the labels of the published weights do not fit. "
            f"Give a labels file with {count} lines, in the order of the outputs."
        )
    return published_file.labels


def check_labels(count: int, labels: Sequence[str]) -> None:
    """Raise BadWeights unless there is one non-empty label per output.

    Labels may repeat: ImageNet has `crane` for the bird and for the machine.
    """
    if len(labels) != count:
        raise BadWeights(f"The weights have {count} outputs, but {len(labels)} labels were given.")
    for number, label in enumerate(labels, 1):
        if not label.strip():
            raise BadWeights(f"Label {number} is empty; each of the {count} outputs needs one.")


def example() -> bytes:
    """Return a PNG picture for comparing answers: waves of colour and a little noise, always the same bytes."""
    y, x = np.mgrid[0:240, 0:320]
    waves = [np.sin(x / a + y / b) for a, b in ((23.0, 41.0), (67.0, -19.0), (-31.0, 29.0))]
    noise = np.random.default_rng(0).normal(0, 12, (240, 320, 3))
    pixels = (127.5 + 100 * np.stack(waves, axis=2) + noise).clip(0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def plain_logits(network: nn.Module, preprocessing: Preprocessing, png: bytes) -> tuple[float, ...]:
    """Return the first ten logits of the unoptimised float32 network.

    Raises BadWeights if they are not finite, or the network does not accept a picture prepared in this way.
    """
    height, width = sides(preprocessing.crop)
    picture = Image.open(io.BytesIO(png)).convert(preprocessing.mode)
    batch = preprocess.normalise(preprocess.stack([preprocess.crop(picture, preprocessing)]), preprocessing)
    try:
        with torch.inference_mode():
            logits = network(batch.contiguous())[0]
    except RuntimeError as error:
        raise BadWeights(
            f"The network cannot take pictures of {height} x {width} pixels in mode {preprocessing.mode}: "
            f"{str(error).splitlines()[0]}"
        ) from error
    if not torch.isfinite(logits).all():
        raise BadWeights("With these weights the network answers a test picture with NaN or infinite numbers.")
    return tuple(logits[:10].tolist())


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


def fetch(
    url: str,
    sha256_prefix: str,
    target: Path,
    timeout: float,
    on_progress: Callable[[int, int | None], None] = lambda done, total: None,
) -> None:
    """Download to `target`, which appears complete and verified or not at all; raises Unavailable with an alternative.

    A server that does not answer within `timeout` seconds counts as unreachable. `on_progress` is called with the bytes
    done and in all.
    """
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f"{target.name}.")
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            digest = hashlib.sha256()
            for chunk in _download(url, timeout, on_progress):
                file.write(chunk)
                digest.update(chunk)
        if not digest.hexdigest().startswith(sha256_prefix):
            raise ValueError(f"the file has the wrong checksum ({digest.hexdigest()[:16]}…)")
        part.replace(target)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        why = "no answer in time" if isinstance(error, httpx.TimeoutException) else str(error) or type(error).__name__
        raise Unavailable(
            f"The weights could not be fetched from {urlsplit(url).netloc}: {why.splitlines()[0]}. Without a network, "
            "use a file: inferq models import NAME --arch ARCH --weights FILE --labels imagenet"
        ) from error
    finally:
        part.unlink(missing_ok=True)


def _download(url: str, timeout: float, on_progress: Callable[[int, int | None], None]) -> Iterator[bytes]:
    with httpx.Client(timeout=timeout, follow_redirects=True) as client, client.stream("GET", url) as response:
        response.raise_for_status()
        # An unreachable server must be detected soon; a running download may pause longer.
        response.request.extensions["timeout"]["read"] = max(timeout, _STALL)
        total = int(response.headers["content-length"]) if "content-length" in response.headers else None
        for chunk in response.iter_raw(1 << 20):
            yield chunk
            on_progress(response.num_bytes_downloaded, total)
