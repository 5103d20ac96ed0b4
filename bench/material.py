"""The material that the benchmark sends: pictures, archives of them, and weights, all generated from a fixed seed.

`python -m bench.material FOLDER ARCHITECTURE` writes weights.safetensors into the folder. It is a program of its own
so that torch is gone from memory before anything is measured.
"""

from __future__ import annotations

import io
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

SEED = 20
PICTURES = 32
SIZES = ((640, 480), (480, 640), (600, 450), (640, 427))
"""Width and height of the pictures, in turn; messengers on phones send such sizes."""
QUALITY = 88
COMPARED, COMPARED_QUALITY = (500, 375), 96
"""The pictures of the comparison with the peers: 71 kB on average."""
PHOTO = (4032, 3024)
"""Twelve megapixels, as phones take them."""
DIGITS = Path(__file__).parent.parent / "worker" / "families" / "digits" / "samples"
"""Ten small pictures for the model that costs least; the module beside them would import torch."""
LABELS = 1000
TAUGHT_LABELS, TAUGHT_EACH = 5, 20
"""The dataset of the trainings: number of labels, and pictures of each."""
_TINT = 60.0
"""Amplitude of a label's tint beside the noise, of 255."""


def pictures(
    folder: Path, count: int = PICTURES, sizes: Sequence[tuple[int, int]] = SIZES, quality: int = QUALITY
) -> list[Path]:
    """Write the JPEGs: noise at every scale with amplitude falling as in photos, so that they cost what photos cost."""
    random = np.random.default_rng(SEED)
    folder.mkdir(exist_ok=True)
    written = []
    for number in range(count):
        path = folder / f"picture-{number:02}.jpg"
        _picture(random, sizes[number % len(sizes)]).save(path, quality=quality)
        written.append(path)
    return written


def _picture(random: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    width, height = size
    pixels = np.full((height, width, 3), 118.0, np.float32)
    for scale in (2, 4, 8, 16, 32, 64, 128, 256, *((1024, 4096) if size == PHOTO else ())):
        # Brightness varies more than colour, and coarse structure more than fine.
        field = random.normal(size=(scale, scale, 1)) + 0.4 * random.normal(size=(scale, scale, 3))
        rows = [Image.fromarray(field[..., channel].astype(np.float32)) for channel in range(3)]
        drawn = [np.asarray(row.resize(size, Image.Resampling.BICUBIC)) for row in rows]
        pixels += 46 / scale**0.45 * np.stack(drawn, axis=-1)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def archive(path: Path, sources: list[Path], count: int) -> None:
    """Write a flat tar of `count` pictures, the sources in turn."""
    with tarfile.open(path, "w") as tar:
        for number in range(count):
            _add(tar, f"{number:05}.jpg", sources[number % len(sources)].read_bytes())


def labelled(path: Path, each: int = TAUGHT_EACH) -> None:
    """Write a tar with a folder for each label, with `each` pictures, all different.

    The labels differ by their tint. On a base of random weights a head learns it, but not for every picture: if the
    head had no mistake, no fine-tuning would be tried, and its time could not be measured.
    """
    random = np.random.default_rng(SEED + 1)
    with tarfile.open(path, "w") as tar:
        for number in range(TAUGHT_LABELS * each):
            label = number % TAUGHT_LABELS
            picture = _tinted(_picture(random, SIZES[number % len(SIZES)]), label)
            with io.BytesIO() as file:
                picture.save(file, "JPEG", quality=QUALITY)
                _add(tar, f"tint {label}/{number:03}.jpg", file.getvalue())


def _tinted(picture: Image.Image, label: int) -> Image.Image:
    """Return the picture with the label's hue, in the same brightness."""
    turns = label / TAUGHT_LABELS + np.arange(3) / 3
    pixels = np.asarray(picture, np.float32) + _TINT * np.cos(2 * np.pi * turns).astype(np.float32)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def labels(path: Path) -> None:
    """Write one name per class."""
    path.write_text("".join(f"class {number}\n" for number in range(LABELS)))


def weights(path: Path, architecture: str) -> None:
    """Write random weights with realistic statistics: activations are neither zero nor infinite, and differ with the
    picture, so that a head can be trained on them.
    """
    import safetensors.torch
    import torch
    import torchvision

    torch.manual_seed(SEED)
    network = torchvision.models.get_model(architecture, weights=None, num_classes=LABELS)
    random = np.random.default_rng(SEED)
    seen = np.stack([np.asarray(_picture(random, (224, 224)), np.float32) for _ in range(8)])
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0  # else nine tenths are still what it began with, and fade away layer by layer
    with torch.no_grad():
        network.train()(torch.from_numpy(seen / 58 - 2).permute(0, 3, 1, 2))  # batch norms learn what passes them
    state = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    safetensors.torch.save_file(state, path)


if __name__ == "__main__":
    weights(Path(sys.argv[1]) / "weights.safetensors", sys.argv[2])
