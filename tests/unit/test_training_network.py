"""Heads that are put into networks, and fine-tuning of whole networks."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from shared.domain.preprocessing import sides
from shared.domain.trainings import TrainingParameters
from shared.errors import BadOption
from worker import families, preprocess, weights
from worker.families import small
from worker.training import finetune, heads
from worker.training.augment import LabelledPictures
from worker.training.finetune import NetworkTraining

pytestmark = pytest.mark.slow

CLASSES = 3


def built(architecture: str) -> tuple[nn.Module, torch.Tensor]:
    """Return a network with random weights and eleven classes, and a batch for it."""
    family = families.find(architecture)
    wanted = family.preprocessing(architecture)
    torch.manual_seed(0)
    network = family.build(architecture, 11, wanted.crop).eval().requires_grad_(False)
    return network, torch.randn(2, wanted.channels, *sides(wanted.crop))


def pooled(network: nn.Module, batch: torch.Tensor) -> torch.Tensor:
    entered, _ = heads.features(network, batch)
    return entered.mean(dim=(2, 3)) if entered.ndim == 4 else entered


@pytest.mark.parametrize(
    "architecture",
    ["resnet18", "mobilenet_v2", "mobilenet_v3_small", "squeezenet1_1", "densenet121", "vit_b_32", "maxvit_t",
     "digits", "small"],
)  # fmt: skip
def test_with_a_new_head_the_whole_computes_the_classifier(architecture: str) -> None:
    network, batch = built(architecture)
    features = pooled(network, batch)
    weight = torch.randn(CLASSES, features.shape[1]) / features.norm(dim=1).mean()
    bias = torch.randn(CLASSES) if heads.has_bias(network) else torch.zeros(CLASSES)
    heads.replace_head(network, weight, bias, lambda: [batch])
    family = families.find(architecture)
    again = weights.assemble(family, architecture, family.preprocessing(architecture), network.state_dict())
    with torch.inference_mode():
        assert torch.allclose(again(batch).softmax(1), (features @ weight.T + bias).softmax(1), atol=1e-4)


def test_a_network_that_does_more_after_its_head_is_refused() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.Sigmoid())
    with pytest.raises(BadOption, match="another base model"):
        heads.replace_head(network, torch.randn(2, 12), torch.zeros(2), lambda: [torch.randn(2, 3, 2, 2)])


def test_only_the_last_quarter_of_the_layers_is_tuned() -> None:
    network, _ = built("resnet18")
    names = {name for name, module in network.named_modules() if module in finetune.trainable(network)}
    assert "fc" in names
    assert all(name.startswith(("fc", "layer4")) for name in names)


@cache
def drawn(number: int) -> Image.Image:
    """Return a picture whose label is its brightest colour."""
    pixels = np.random.default_rng(number).integers(0, 160, (70, 90, 3), dtype=np.uint8)
    pixels[..., number % CLASSES] += 80
    return Image.fromarray(pixels)


def pictures(count: int, first: int = 0) -> LabelledPictures:
    assert first % CLASSES == 0
    return LabelledPictures(lambda number: drawn(first + number), torch.arange(count) % CLASSES)


def fresh(epochs: int = 4, count: int = 24) -> NetworkTraining:
    params = TrainingParameters(epochs=epochs, learning_rate=0.003, batch_size=8, seed=5)
    return finetune.from_scratch("small", CLASSES, pictures(count), pictures(9, first=900), params)


def tuning(epochs: int = 3, rate: float = 0.001) -> NetworkTraining:
    torch.manual_seed(1)
    network = small.build("small", CLASSES, 64)
    params = TrainingParameters(epochs=epochs, learning_rate=rate, batch_size=8, seed=5)
    return finetune.last_stages(network, small.PREPROCESSING, pictures(12), pictures(6, first=900), params)


def same(first: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(mine, other.state_dict()[name]) for name, mine in first.state_dict().items())


@pytest.mark.parametrize("make", [fresh, tuning])
def test_a_resumed_network_training_ends_with_the_same_bits(make: Callable[[], NetworkTraining]) -> None:
    whole, first, second = make(), make(), make()
    reports = []
    while not whole.finished:
        reports.append(whole.step())
    first.step()
    torch.rand(7)  # what others draw in between does not matter
    second.load(first.state())
    assert [second.step() for _ in reports[1:]] == reports[1:]
    assert same(second.result(), whole.result())


def test_a_small_network_learns_from_scratch_and_can_be_served() -> None:
    training = fresh(epochs=8)
    while not training.finished:
        training.step()
    network = training.result()
    again = weights.assemble(small, "small", small.PREPROCESSING, network.state_dict())
    crops = [preprocess.crop(drawn(number), small.PREPROCESSING) for number in range(300, 330)]
    with torch.inference_mode():
        answers = again(preprocess.normalise(preprocess.stack(crops), small.PREPROCESSING)).argmax(1)
    assert (answers == torch.arange(30) % CLASSES).double().mean() > 0.9
    assert not network.training


def test_fine_tuning_changes_the_end_alone_and_no_statistics() -> None:
    torch.manual_seed(1)
    before = small.build("small", CLASSES, 64).state_dict()
    training = tuning()
    training.step()
    after = training._network.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(int(name.split(".")[0]) >= 12 and "running" not in name for name in changed)


def test_fine_tuning_that_does_not_help_claims_nothing() -> None:
    training = tuning(epochs=1, rate=1e-9)
    training.step()
    assert not training.improved


def test_the_global_random_numbers_are_left_as_they_were() -> None:
    training = tuning()
    torch.manual_seed(9)
    expected = torch.rand(1)
    torch.manual_seed(9)
    training.step()
    assert torch.equal(torch.rand(1), expected)
