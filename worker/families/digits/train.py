"""Trains `digits` on scikit-learn's handwritten digits: `python -m worker.families.digits.train`, a minute or two."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn import functional

from worker import preprocess, weights
from worker.families import digits

SEED = 0
HELD_OUT = 0.25
EPOCHS = 90
BATCH = 64
LEARNING_RATE = 4e-3


def main() -> None:
    """Train, measure on the held-out part, and write weights, card and samples into this folder."""
    torch.manual_seed(SEED)
    torch.set_num_threads(1)  # sums in a fixed order: two runs on one machine write the same bytes
    torch.use_deterministic_algorithms(True)
    train, digit_labels, held_out, truth = data()
    network = digits.build("digits", 10, digits.PREPROCESSING.crop)
    fit(network, batch(train), digit_labels)
    measured = {
        "accuracy": accuracy(network, held_out, truth),
        "accuracy_dark_on_light_256px": accuracy(network, [drawing(small) for small in held_out], truth),
        "confusion": confusion(network, held_out, truth),
        "held_out": len(held_out),
        "trained_on": len(train),
        "data": "scikit-learn load_digits (UCI optical recognition of handwritten digits)",
        "seed": SEED,
        "epochs": EPOCHS,
        "batch": BATCH,
        "learning_rate": LEARNING_RATE,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
    }
    checksum = weights.write(network.state_dict(), digits.WEIGHTS)
    card = {"labels": [str(digit) for digit in range(10)], "sha256": checksum, "metrics": measured}
    digits.CARD.write_text(json.dumps(card, indent=1) + "\n")
    write_samples(network, held_out, truth, digits.SAMPLES)
    print({name: value for name, value in measured.items() if name != "confusion"}, checksum)


def data() -> tuple[list[Image.Image], torch.Tensor, list[Image.Image], torch.Tensor]:
    """Return pictures of 8 x 8 pixels and their digits, for training and held out: always the same split, even per
    digit."""
    pixels, answers = load_digits(return_X_y=True)
    parts = train_test_split(pixels, answers, test_size=HELD_OUT, stratify=answers, random_state=SEED)
    train, held_out = ([picture(row) for row in rows] for rows in parts[:2])
    return train, torch.tensor(parts[2]), held_out, torch.tensor(parts[3])


def picture(row: np.ndarray) -> Image.Image:
    """Return the picture of 64 numbers from 0 to 16, light on dark."""
    return Image.fromarray((row.reshape(8, 8) * 255 / 16).round().astype(np.uint8))


def batch(pictures: list[Image.Image]) -> torch.Tensor:
    """Return (N, 1, 32, 32) uint8, prepared exactly as a worker does it."""
    return preprocess.stack([preprocess.crop(image, digits.PREPROCESSING) for image in pictures]).contiguous()


def fit(network: nn.Module, pictures: torch.Tensor, answers: torch.Tensor) -> None:
    """Train in place, on changed copies of the pictures; leaves the network in eval mode."""
    steps = EPOCHS * math.ceil(len(pictures) / BATCH)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    network.train()
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(pictures)).split(BATCH):
            loss = functional.cross_entropy(network(changed(pictures[chosen])), answers[chosen], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    network.eval()


def changed(pictures: torch.Tensor) -> torch.Tensor:
    """Return normalised copies, each turned, scaled, moved, paler, noisier, and half of them with dark and light
    exchanged.

    The data are light on dark and fill the frame; people draw dark on light, with a margin.
    """
    count = len(pictures)
    angle, scale = uniform(count, -0.25, 0.25), uniform(count, 0.95, 1.6)
    stretch, shift = uniform(count, 0.85, 1.15), uniform(2 * count, -0.2, 0.2).view(count, 2, 1)
    rows = torch.stack([scale * angle.cos() * stretch, -scale * angle.sin(), scale * angle.sin(), scale * angle.cos()])
    move = torch.cat([rows.T.reshape(count, 2, 2), shift], dim=2)
    grid = functional.affine_grid(move, list(pictures.shape), align_corners=False)
    moved = functional.grid_sample(pictures / 255, grid, align_corners=False)
    contrast = uniform(count, 0.4, 1.0).view(-1, 1, 1, 1)
    paler = moved.pow(uniform(count, 0.6, 1.8).view(-1, 1, 1, 1)) * contrast
    paler = paler + uniform(count, 0, 1).view(-1, 1, 1, 1) * (1 - contrast)
    noisy = (paler + 0.04 * torch.randn_like(paler)).clamp(0, 1)
    exchanged = torch.where(uniform(count, 0, 1).view(-1, 1, 1, 1) < 0.5, noisy, 1 - noisy)
    return preprocess.normalise(exchanged * 255, digits.PREPROCESSING)


def uniform(count: int, low: float, high: float) -> torch.Tensor:
    """Return `count` random numbers between low and high."""
    return torch.empty(count).uniform_(low, high)


def drawing(small: Image.Image, side: int = 256) -> Image.Image:
    """Return the digit as a person would send it: large, dark on light, with a margin."""
    margin = side // 8
    large = small.resize((side - 2 * margin, side - 2 * margin), Image.Resampling.BICUBIC)
    paper = Image.new("L", (side, side), 255)
    paper.paste(large.point(lambda value: 255 - value), (margin, margin))
    return paper


@torch.inference_mode()
def answer(network: nn.Module, pictures: list[Image.Image]) -> torch.Tensor:
    """Return the likeliest digit of each picture."""
    return torch.as_tensor(network(preprocess.normalise(batch(pictures), digits.PREPROCESSING)).argmax(1))


def accuracy(network: nn.Module, pictures: list[Image.Image], truth: torch.Tensor) -> float:
    """Return the share of right answers, to four digits."""
    return round((answer(network, pictures) == truth).double().mean().item(), 4)


def confusion(network: nn.Module, pictures: list[Image.Image], truth: torch.Tensor) -> list[list[int]]:
    """Return the confusion matrix: rows are the true digits, columns the answers."""
    pairs = torch.bincount(truth * 10 + answer(network, pictures), minlength=100)
    counts: list[list[int]] = pairs.view(10, 10).tolist()
    return counts


def write_samples(network: nn.Module, pictures: list[Image.Image], truth: torch.Tensor, folder: Path) -> None:
    """Write, for each digit, the first held-out picture that is recognised, drawn dark on light with 128 pixels."""
    folder.mkdir(exist_ok=True)
    right = answer(network, [drawing(small, 128) for small in pictures]) == truth
    for digit in range(10):
        first = int(((truth == digit) & right).nonzero()[0])
        drawing(pictures[first], 128).save(folder / f"digit_{digit}.png", optimize=True)


if __name__ == "__main__":
    main()
