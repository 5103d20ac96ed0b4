"""A process that converts one network from torch to OpenVINO: `python -m worker.openvino_conversion FOLDER`."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path

import safetensors.torch
import torch
from torch import nn

from shared.domain.preprocessing import Preprocessing
from shared.errors import BadWeights
from worker import conversions, engine_examples, families, preprocess
from worker.conversions import Job
from worker.openvino_network import EXAMPLES, GRAPH, WEIGHTS, Examples, OpenVinoNetwork, library

CONVERTED = "model.zip"
_PIECE = 8
"""Pictures of the example set that the plain network runs at once."""


class _Both(nn.Module):
    """A network that returns its logits and its features, so that one conversion serves both tasks."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.head = families.penultimate(network)

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        captured: list[torch.Tensor] = []
        hook = self.head.register_forward_pre_hook(lambda module, inputs: captured.append(inputs[0]))
        try:
            logits = self.network(pixels)
        finally:
            hook.remove()
        features = captured[0]
        return logits, features.mean(dim=(2, 3)) if features.ndim == 4 else features


def work(job: Job, folder: Path) -> None:
    """Convert the network, and compare the result with it; raises BadWeights."""
    convert(job.network(), job.preprocessing, job.example, folder, job.pictures)
    stored = (folder / CONVERTED).read_bytes()
    found = OpenVinoNetwork(stored, 1).errors(Examples(stored, job.preprocessing), torch.sigmoid)
    if not found.are_exact:
        raise BadWeights(f"OpenVINO gives other answers than torch; one is off by {found.difference:.2g}")


@torch.inference_mode()
def convert(
    network: nn.Module,
    preprocessing: Preprocessing,
    example_png: bytes,
    folder: Path,
    pictures: Sequence[bytes] = (),
) -> None:
    """Write a plain network as CONVERTED into the folder, with its own answers for some pictures; raises BadWeights.

    `pictures` are the example set of the version; without them it is made up.
    """
    openvino = library()
    both = _Both(network).eval()
    examples = _crops(preprocessing, example_png, pictures or list(engine_examples.made_up()))
    pixels = preprocess.normalise(examples["full"][:2], preprocessing).contiguous()
    try:
        shape = openvino.PartialShape([-1, *pixels.shape[1:]])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the converter's own workings
            model = openvino.convert_model(both, example_input=pixels, input=[shape])
    except Exception as error:  # tracing can raise any kind of exception, depending on the control flow
        line = next(iter(str(error).strip().splitlines()), "")
        raise BadWeights(f"OpenVINO cannot convert it ({type(error).__name__}: {line[:300]})") from error
    # No compression to half precision, which is the default and changes scores in the third digit.
    openvino.save_model(model, folder / GRAPH, compress_to_fp16=False)
    examples |= _answers(both, preprocessing, examples["full"])
    tensors = {name: value.contiguous() for name, value in examples.items()}
    safetensors.torch.save_file(tensors, folder / EXAMPLES)
    with zipfile.ZipFile(folder / CONVERTED, "w", zipfile.ZIP_STORED) as archive:
        for name in (GRAPH, WEIGHTS, EXAMPLES):
            archive.write(folder / name, name)


def _crops(preprocessing: Preprocessing, example_png: bytes, pictures: Sequence[bytes]) -> dict[str, torch.Tensor]:
    """Return the crops (N, channels, height, width) of the example set, from JPEGs in full and at a smaller size."""
    own = engine_examples.own(example_png, preprocessing)
    full, scaled = (engine_examples.crops(pictures, preprocessing, scaled=scaled) for scaled in (False, True))
    return {"full": torch.cat([own, full]), "scaled": torch.cat([own, scaled])}


def _answers(both: _Both, preprocessing: Preprocessing, crops: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the plain network's logits and features for crops."""
    found = [both(preprocess.normalise(piece, preprocessing).contiguous()) for piece in crops.split(_PIECE)]
    logits, features = (torch.cat(parts) for parts in zip(*found, strict=True))
    return {"logits": logits, "features": features}


if __name__ == "__main__":
    conversions.main(work)
