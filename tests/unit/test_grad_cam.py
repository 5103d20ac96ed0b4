"""Grad-CAM: the heat lies where the evidence is, in every kind of network; others are refused with the reason."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from worker import families, grad_cam

CORNERS = {"top left": (0, 0), "top right": (0, 1), "bottom left": (1, 0), "bottom right": (1, 1)}


class Tokens(nn.Module):
    """A transformer in small: patches of 4 pixels behind a token of the class, which alone reaches the head."""

    def __init__(self, leading: int = 1) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 2, 4, stride=4)
        self.norm = nn.Identity()
        self.last = nn.Identity()
        self.head = nn.Linear(2, 2)
        self.leading = leading

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        tokens = self.patches(pixels).relu().flatten(2).transpose(1, 2)
        tokens = self.norm(torch.cat([torch.ones(len(tokens), self.leading, 2), tokens], dim=1))
        mixed = torch.cat([tokens.mean(dim=1, keepdim=True), tokens[:, 1:]], dim=1)
        logits: torch.Tensor = self.head(self.last(mixed)[:, 0])
        return logits


class ChannelsLast(nn.Module):
    """A network whose last map has its channels last, as Swin has."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 2, 3, padding=1)
        self.norm = nn.Identity()
        self.head = nn.Linear(2, 2)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        features = self.norm(self.convolution(pixels).relu().permute(0, 2, 3, 1))
        logits: torch.Tensor = self.head(features.mean(dim=(1, 2)))
        return logits


def convolutions() -> nn.Module:
    """Return a network that changes its map in place and pools it twice."""
    return nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(2, 2),
    )  # fmt: skip


class Reused(nn.Module):
    """A network that uses one layer twice; the map is what it puts out the second time."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 2, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(2, 2)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.relu(self.second(self.relu(self.first(pixels)))).mean(dim=(2, 3)))
        return logits


KINDS = {"convolutions": convolutions, "channels last": ChannelsLast, "tokens": Tokens, "reused": Reused}


def for_bright_things(network: nn.Module) -> nn.Module:
    """Set the weights so that bright pixels speak for label 0 and against label 1."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(0.1 if parameter.ndim > 1 else 0.0)
        network.get_submodule(families.head(network)[0]).weight[1] *= -1  # type: ignore[operator]
    return network.eval().requires_grad_(False)


def thing_in(corner: tuple[int, int], side: int = 32) -> torch.Tensor:
    """Return a dark picture with a bright square inside one quarter."""
    pixels = torch.zeros(1, 1, side, side)
    top, left = (place * side // 2 + side // 8 for place in corner)
    pixels[:, :, top : top + side // 4, left : left + side // 4] = 1
    return pixels


def share_in(corner: tuple[int, int], heat: torch.Tensor) -> float:
    """Return the share of the heat that lies in a quarter."""
    rows, columns = heat.shape
    top, left = corner[0] * rows // 2, corner[1] * columns // 2
    quarter = heat[top : top + rows // 2, left : left + columns // 2]
    return (quarter.sum() / heat.sum()).item()


@pytest.mark.parametrize("corner", CORNERS.values(), ids=CORNERS)
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_the_heat_lies_on_the_thing_that_the_label_is_for(kind: type[nn.Module], corner: tuple[int, int]) -> None:
    network, pixels = for_bright_things(kind()), thing_in(corner)
    at = grad_cam.find_map(network, pixels)
    (heat,) = grad_cam.heat(network, at, pixels, [[0]])
    assert share_in(corner, heat) > 0.95
    assert heat.max() == 1
    assert heat.min() == 0


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_nothing_is_hot_where_nothing_speaks_for_the_label(kind: type[nn.Module]) -> None:
    network, pixels = for_bright_things(kind()), thing_in((0, 1))
    heat = grad_cam.heat(network, grad_cam.find_map(network, pixels), pixels, [[1]])
    assert torch.equal(heat, torch.zeros_like(heat))


def test_the_heat_is_that_of_the_formula_with_gradients_by_finite_differences() -> None:
    torch.manual_seed(1)
    body = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Tanh())
    tail = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16, 5), nn.Tanh(), nn.Linear(5, 4))
    network = nn.Sequential(body, tail).double().eval().requires_grad_(False)
    pixels, label, step = torch.randn(1, 1, 6, 6).double(), 2, 1e-5
    features = body(pixels)
    gradient = torch.zeros_like(features)
    for place in range(features.numel()):
        moved = torch.zeros_like(features).flatten().index_fill_(0, torch.tensor([place]), step).view_as(features)
        change = tail(features + moved)[0, label] - tail(features - moved)[0, label]
        gradient.view(-1)[place] = change / (2 * step)
    by_hand = (gradient.mean(dim=(2, 3), keepdim=True) * features).sum(dim=1)[0].clamp_min(0)

    (heat,) = grad_cam.heat(network, grad_cam.find_map(network, pixels), pixels, [[label]])

    assert by_hand.max() > 0
    assert torch.allclose(heat.double(), by_hand / by_hand.max(), atol=1e-6)


def test_pictures_that_run_together_have_the_heat_that_each_has_alone() -> None:
    torch.manual_seed(2)
    network = convolutions().eval().requires_grad_(False)
    pixels = torch.randn(3, 1, 16, 16)
    at = grad_cam.find_map(network, pixels[:1])
    together = grad_cam.heat(network, at, pixels, [[0], [1], [0]])
    alone = [grad_cam.heat(network, at, pixels[n : n + 1], [[n % 2]])[0] for n in range(3)]
    assert torch.allclose(together, torch.stack(alone), atol=1e-6)


def test_of_outputs_with_the_same_label_the_likeliest_is_explained() -> None:
    network, pixels = for_bright_things(convolutions()), thing_in((1, 0))
    at = grad_cam.find_map(network, pixels)
    assert torch.equal(grad_cam.heat(network, at, pixels, [[1, 0]]), grad_cam.heat(network, at, pixels, [[0]]))


@pytest.mark.parametrize(
    ("architecture", "layout", "grid", "leading"),
    [
        ("resnet18", "NCHW", (7, 7), 0),
        ("densenet121", "NCHW", (7, 7), 0),  # in place, by a function that is no module
        ("vgg11", "NCHW", (14, 14), 0),  # before it is pooled
        ("squeezenet1_1", "NCHW", (13, 13), 0),
        ("mobilenet_v3_small", "NCHW", (7, 7), 0),
        ("swin_t", "NCHW", (7, 7), 0),
        ("vit_b_32", "tokens", (7, 7), 1),
        ("timm/swin_tiny_patch4_window7_224", "NHWC", (7, 7), 0),
        ("timm/vit_tiny_patch16_224", "tokens", (14, 14), 1),
        ("timm/deit_tiny_distilled_patch16_224", "tokens", (14, 14), 2),
        ("timm/levit_128s", "tokens", (4, 4), 0),
    ],
)
def test_the_last_map_of_a_known_architecture_is_found(
    architecture: str, layout: str, grid: tuple[int, int], leading: int
) -> None:
    torch.manual_seed(0)
    network = families.find(architecture).build(architecture, 10, 224).eval().requires_grad_(False)
    head = families.penultimate(network)
    head.weight.normal_(std=0.02)  # type: ignore[operator]  # some begin with zeros
    pixels = torch.randn(2, 3, 224, 224)

    at = grad_cam.find_map(network, pixels[:1])

    assert (at.layout, at.grid, at.leading) == (layout, grid, leading)
    assert grad_cam.heat(network, at, pixels, [[1], [2]]).shape == (2, *grid)
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not any(module._forward_hooks for module in network.modules())


def test_a_network_without_a_map_is_refused() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 2)).eval()
    with pytest.raises(grad_cam.CannotExplain, match="None of its layers"):
        grad_cam.find_map(network, torch.randn(1, 1, 8, 8))


def test_a_network_whose_tokens_are_no_grid_is_refused() -> None:
    with pytest.raises(grad_cam.CannotExplain, match="23 tokens cannot be arranged"):
        grad_cam.find_map(Merged().eval(), torch.randn(1, 1, 16, 16))


class Merged(nn.Module):
    """A network that mixes its 16 patches into 23 tokens, of which none lies anywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.mix, self.norm = nn.Conv2d(1, 6, 4, stride=4), nn.Linear(16, 23), nn.LayerNorm(6)
        self.head = nn.Linear(6, 2)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.norm(self.mix(self.patches(pixels).flatten(2)).mT).mean(dim=1))
        return logits
