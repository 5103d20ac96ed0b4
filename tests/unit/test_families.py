"""Families: every architecture can be built, read by name, and its feature layer found."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torchvision import models

from shared.domain.preprocessing import sides
from shared.errors import BadOption
from tests.long import rest_long
from worker import families, preprocess, weights
from worker.families import digits, torchvision
from worker.families.digits import train

pytestmark = pytest.mark.slow

KNOWN_FEATURES = {
    "resnet50": 2048,
    "mobilenet_v2": 1280,
    "mobilenet_v3_small": 1024,
    "vgg16": 4096,
    "squeezenet1_1": 512,
    "densenet121": 1024,
    "vit_b_16": 768,
    "inception_v3": 2048,
}


def meta(architecture: str, classes: int = 1000) -> torch.nn.Module:
    """Return the network on the device `meta`: shapes are computed, numbers are not."""
    with families.hollow():
        crop = torchvision.preprocessing(architecture).crop
        return torchvision.build(architecture, classes, crop).to("meta").eval()


def renamed(state: dict[str, torch.Tensor], pattern: str, new: str) -> dict[str, torch.Tensor]:
    return {re.sub(pattern, new, name): tensor for name, tensor in state.items()}


@pytest.mark.parametrize("architecture", rest_long(torchvision.architectures()))
def test_the_input_of_the_penultimate_layer_is_the_feature_vector(architecture: str) -> None:
    network, entered = meta(architecture, classes=7), []
    families.penultimate(network).register_forward_pre_hook(lambda module, inputs: entered.append(inputs[0].shape))
    crop = torchvision.preprocessing(architecture).crop
    logits = network(torch.empty(2, 3, *sides(crop), device="meta"))
    assert logits.shape == (2, 7)
    assert len(entered) == 1
    assert entered[0][:2] == (2, KNOWN_FEATURES.get(architecture, entered[0][1]))
    assert len(entered[0]) in (2, 4)


def test_a_hollow_network_holds_no_memory() -> None:
    with families.hollow():
        network = torchvision.build("resnet50", 1000, 224)
    assert all(parameter.is_meta for parameter in network.parameters())
    assert not torch.empty(1).is_meta


def test_families_are_found_by_listing_the_folder() -> None:
    assert families.names() == ["digits", "onnx", "small", "timm", "torchvision", "transformers"]
    assert families.architectures()["digits"] == "digits"
    assert families.architectures()["vit_h_14"] == "torchvision"


def test_an_architecture_leads_to_its_family() -> None:
    assert families.name_of(families.find("resnet18")) == "torchvision"
    assert families.name_of(families.find("digits")) == "digits"


def test_an_unknown_architecture_is_answered_with_near_ones() -> None:
    with pytest.raises(BadOption, match="resnet50"):
        families.find("ResNet-50")


def test_an_unknown_family_is_answered_with_those_there_are() -> None:
    with pytest.raises(BadOption, match="digits, onnx, small, timm, torchvision, transformers"):
        families.load("os")


def test_what_checks_and_serves_digits_is_imported_without_torchvision() -> None:
    code = (
        "import sys; from worker import consumer, families, model_check; families.find('digits'); "
        "print('torchvision' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ran.stdout == "False\n"


def test_published_files_are_recognised_by_their_checksum_and_keep_their_own_preprocessing() -> None:
    first, second = torchvision.identify("0676ba61" + "0" * 56), torchvision.identify("11ad3fa6" + "0" * 56)
    assert first
    assert second
    assert (first.weights_name, first.preprocessing.resize) == ("IMAGENET1K_V1", 256)
    assert (second.weights_name, second.preprocessing.resize) == ("IMAGENET1K_V2", 232)
    assert torchvision.identify("0" * 64) is None


def test_every_published_file_has_a_checksum_and_a_label_for_each_output() -> None:
    for architecture in torchvision.architectures():
        published = families.pretrained(architecture)
        assert published
        assert re.fullmatch("[0-9a-f]{8,}", published.sha256_prefix), published.url
        assert len(published.labels) == 1000


def test_preprocessing_is_that_of_the_default_weights() -> None:
    preset = models.EfficientNet_V2_L_Weights.DEFAULT.transforms()
    preprocessing = torchvision.preprocessing("efficientnet_v2_l")
    assert ([preprocessing.resize], [preprocessing.crop]) == (preset.resize_size, preset.crop_size)
    assert (list(preprocessing.mean), list(preprocessing.std)) == (preset.mean, preset.std)
    assert preprocessing.interpolation == "bicubic"


def test_a_vit_takes_the_size_of_its_published_weights() -> None:
    assert meta("vit_h_14").state_dict()["encoder.pos_embedding"].shape == (1, (518 // 14) ** 2 + 1, 1280)


def test_old_names_in_published_densenet_and_vit_files_become_new_ones() -> None:
    dense, vit = meta("densenet121").state_dict(), meta("vit_b_32").state_dict()
    old_dense = renamed(dense, r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2")
    old_vit = renamed(renamed(vit, r"mlp\.0", "mlp.linear_1"), r"mlp\.3", "mlp.linear_2")
    assert old_dense.keys() != dense.keys()
    assert old_vit.keys() != vit.keys()
    assert torchvision.adapt("densenet121", old_dense).keys() == dense.keys()
    assert torchvision.adapt("vit_b_32", old_vit).keys() == vit.keys()


@pytest.mark.parametrize("architecture", ["googlenet", "inception_v3"])
def test_classifiers_that_only_training_uses_are_left_out(architecture: str) -> None:
    with torch.device("meta"):
        published = models.get_model(architecture, aux_logits=True, init_weights=False).state_dict()
    own = meta(architecture).state_dict()
    assert published.keys() > own.keys()
    assert torchvision.adapt(architecture, published).keys() == own.keys()


def test_the_shipped_digits_are_right_on_at_least_98_percent_of_the_held_out_part() -> None:
    network = weights.assemble(digits, "digits", digits.PREPROCESSING, load_file(digits.WEIGHTS))
    _, _, pictures, truth = train.data()
    measured = digits.card()["metrics"]
    assert train.accuracy(network, pictures, truth) == measured["accuracy"] >= 0.98
    assert train.confusion(network, pictures, truth) == measured["confusion"]
    assert train.accuracy(network, [train.drawing(drawing) for drawing in pictures], truth) >= 0.98


def test_the_digits_card_describes_the_shipped_file() -> None:
    data = digits.WEIGHTS.read_bytes()
    assert hashlib.sha256(data).hexdigest() == digits.card()["sha256"]
    assert len(data) < 200_000


def test_the_sample_digits_are_recognised() -> None:
    network = weights.assemble(digits, "digits", digits.PREPROCESSING, load_file(digits.WEIGHTS))
    files = sorted(digits.SAMPLES.glob("*.png"))
    assert [file.name for file in files] == [f"digit_{digit}.png" for digit in range(10)]
    batch = preprocess.stack([preprocess.crop(Image.open(file), digits.PREPROCESSING) for file in files])
    assert network(preprocess.normalise(batch, digits.PREPROCESSING)).argmax(1).tolist() == list(range(10))
