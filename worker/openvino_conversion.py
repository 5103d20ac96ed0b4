"""A process that converts one network from torch to OpenVINO: `python -m worker.openvino_conversion FOLDER`."""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path

import safetensors.torch
import torch
from torch import nn

from shared.domain.preprocessing import Preprocessing
from shared.errors import BadWeights
from worker import conversions, families, preprocess
from worker.conversions import Job
from worker.openvino_network import GRAPH, REFERENCE, WEIGHTS, OpenVinoNetwork, keeps_contract, library

CONVERTED = "model.zip"
_PICTURES = 8
"""Pictures for which the answers of both are compared."""


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
    convert(job.network(), job.preprocessing, job.example, folder)
    difference = OpenVinoNetwork((folder / CONVERTED).read_bytes(), 1).difference()
    if not keeps_contract(difference):
        raise BadWeights(f"OpenVINO gives other answers than torch; one is off by {difference:.2g}")


@torch.inference_mode()
def convert(network: nn.Module, preprocessing: Preprocessing, example_png: bytes, folder: Path) -> None:
    """Write a plain network as CONVERTED into the folder, with its own answers for some pictures; raises BadWeights."""
    openvino = library()
    both = _Both(network).eval()
    pixels = _pictures(preprocessing, example_png)
    try:
        logits, features = both(pixels)
        shape = openvino.PartialShape([-1, *pixels.shape[1:]])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the converter's own workings
            model = openvino.convert_model(both, example_input=pixels[:2], input=[shape])
    except Exception as error:  # tracing can raise any kind of exception, depending on the control flow
        line = next(iter(str(error).strip().splitlines()), "")
        raise BadWeights(f"OpenVINO cannot convert it ({type(error).__name__}: {line[:300]})") from error
    # No compression to half precision, which is the default and changes scores in the third digit.
    openvino.save_model(model, folder / GRAPH, compress_to_fp16=False)
    reference = {"pixels": pixels, "logits": logits, "features": features}
    safetensors.torch.save_file({name: value.contiguous() for name, value in reference.items()}, folder / REFERENCE)
    with zipfile.ZipFile(folder / CONVERTED, "w", zipfile.ZIP_STORED) as archive:
        for name in (GRAPH, WEIGHTS, REFERENCE):
            archive.write(folder / name, name)


def _pictures(preprocessing: Preprocessing, example_png: bytes) -> torch.Tensor:
    """Return normalised pictures (N, channels, height, width): the example, darker and turned, and noise."""
    crop = preprocess.crop(preprocess.decode(example_png, preprocessing), preprocessing)
    noise = torch.randint(0, 256, (3, *crop.shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    pictures = [crop, crop.flip(1), crop.flip(2), crop // 3, 255 - crop, *noise][:_PICTURES]
    return preprocess.normalise(preprocess.stack(pictures), preprocessing).contiguous()


if __name__ == "__main__":
    conversions.main(work)
