"""timm: its architectures, its own preprocessing and its scores; and the real weights that are installed."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
import timm as reference
import torch
from PIL import Image
from safetensors.torch import save_file
from timm.data.config import resolve_data_config
from timm.data.transforms_factory import create_transform
from torch import nn

from shared.domain.models import ModelExample, ModelState, ModelVersion
from shared.domain.preprocessing import Origin, Preprocessing
from shared.errors import BadOption, BadWeights
from shared.settings import Settings
from tests.long import rest_long
from tests.unit.model_file_reader import read_weights
from tests.unit.tensor_resize import tensors_resized
from worker import examination, families, model_check, preprocess
from worker.engine import Engine, Loaded
from worker.examination import Wanted
from worker.families import timm
from worker.training import heads

pytestmark = pytest.mark.slow

LITE0 = "tf_efficientnet_lite0"
SIZES = [(640, 480), (333, 517), (224, 224), (500, 375), (800, 1201)]
SMALL = [
    "timm/resnet18.a1_in1k",
    "levit_128s",
    "mobilenetv4_conv_small",
    "efficientvit_m0",
    "tiny_vit_5m_224",
    "vit_tiny_patch16_224",
    "fastvit_t8",
    "regnetz_005",
]
"""Small, each of another kind: batch norms with activations, tables of positions, attention, depthwise convolutions."""


def picture(size: tuple[int, int]) -> Image.Image:
    """Return a picture of waves and noise, a different one for each size."""
    rng = np.random.default_rng(size[0] * 10_000 + size[1])
    y, x = np.mgrid[0 : size[1], 0 : size[0]]
    waves = np.stack([100 * np.sin(a * x + b * y) for a, b in rng.uniform(-0.2, 0.2, (3, 2))], axis=2)
    return Image.fromarray((128 + waves + rng.normal(0, 20, waves.shape)).clip(0, 255).astype(np.uint8))


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def transform(architecture: str, **changes: Any) -> Any:
    """Return timm's own evaluation transform for the architecture."""
    config = reference.get_pretrained_cfg(architecture.removeprefix("timm/"))
    options = resolve_data_config(changes, pretrained_cfg=config.to_dict())  # type: ignore[no-untyped-call]
    return create_transform(**options)


def served(examined: examination.Examined, architecture: str) -> Loaded:
    """Return the imported model as a worker's engine runs it, after the optimisations."""
    blobs = {"w": examined.path.read_bytes(), "e": examined.example_png}
    version = ModelVersion(
        id="v",
        tenant="*",
        name="v",
        version="1",
        family=examined.family,
        architecture=architecture,
        state=ModelState.READY,
        created_at=0.0,
        labels=examined.labels,
        preprocessing=examined.preprocessing,
        weights="w",
        checksum=examined.checksum,
        example=ModelExample("e", examined.example_logits),
    )
    return Engine(Settings(device="cpu"), blobs.__getitem__).load(version)


def lively(architecture: str) -> nn.Module:
    """Return timm's network with random weights, scaled so that its answers differ from picture to picture."""
    torch.manual_seed(0)
    network = reference.create_model(architecture.removeprefix("timm/"), pretrained=False, num_classes=7)
    prepare = transform(architecture)
    inputs = torch.stack([prepare(picture(size)) for size in SIZES])
    with torch.no_grad():
        for module in network.modules():  # normalised by these very pictures, or the signal vanishes on its way
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.momentum = None
        network.train()(inputs)
        head = families.penultimate(network.eval())
        head.weight /= network(inputs).std(0).mean()
    return network


def own_logits(network: nn.Module, architecture: str, images: list[Image.Image]) -> torch.Tensor:
    prepare = transform(architecture)
    with torch.inference_mode():
        logits: torch.Tensor = network.eval()(torch.stack([prepare(image) for image in images]))
    return logits


@pytest.mark.parametrize("architecture", rest_long(SMALL))
def test_logits_equal_timms_own(architecture: str, tmp_path: Path) -> None:
    network = lively(architecture)
    save_file({name: tensor.clone() for name, tensor in network.state_dict().items()}, tmp_path / "w.safetensors")
    examined = examination.examine(tmp_path / "w.safetensors", tmp_path, Wanted(architecture, labels=list("abcdefg")))
    images = [picture(size) for size in SIZES]
    with tensors_resized():
        expected = own_logits(network, architecture, images)

    loaded = served(examined, architecture)

    logits = loaded.forward([loaded.prepare(png(image)) for image in images])
    assert (logits - expected).abs().max() < 1e-4
    assert expected.std(0).mean() > 0.5, "the pictures must differ, or any answer would do"


@pytest.fixture(scope="module")
def lite0(tmp_path_factory: pytest.TempPathFactory) -> examination.Examined:
    """The installed weights, as the check of the catalogue's model examines them."""
    shipped = families.pretrained(LITE0)
    assert shipped
    assert shipped.path
    return examination.examine(shipped.path, tmp_path_factory.mktemp("lite0"), Wanted(LITE0, published=True))


def test_the_installed_weights_are_prepared_as_timm_prepares_them(lite0: examination.Examined) -> None:
    assert lite0.preprocessing == Preprocessing(256, 224, (0.5,) * 3, (0.5,) * 3, "bicubic")
    assert (len(lite0.labels), lite0.labels[282]) == (1000, "tiger cat")
    assert lite0.preset
    assert (lite0.preset.name, lite0.preset.origin) == ("in1k", Origin.PUBLISHED)


def test_the_installed_weights_name_what_photographs_show(lite0: examination.Examined) -> None:
    """Their logits equal those of timm's network and transform; weights are matched by order."""
    photos = {"tiger cat": "chelsea", "espresso": "coffee", "missile": "rocket"}
    images = [Image.fromarray(getattr(skimage.data, name)()) for name in photos.values()]
    loaded = served(lite0, LITE0)
    logits = loaded.forward([loaded.prepare(png(image)) for image in images])
    assert [lite0.labels[number] for number in logits.argmax(1)] == list(photos)

    network = reference.create_model(LITE0, pretrained=False)
    network.load_state_dict(read_weights(lite0.path))
    with tensors_resized():
        assert (logits - own_logits(network, LITE0, images)).abs().max() < 1e-4
    by_pillow = own_logits(network, LITE0, images)
    assert (logits.softmax(1) - by_pillow.softmax(1)).abs().max() < 5e-3


@pytest.mark.parametrize("size", [*SIZES, (17, 31), (1500, 40), (1, 90), (225, 1001), (100, 100)])
@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
@pytest.mark.parametrize(("crop", "crop_pct", "interpolation"), [(224, 0.875, "bicubic"), (96, 1.0, "bilinear")])
def test_pictures_are_prepared_bit_for_bit_as_timm_does_but_for_the_resizing(
    size: tuple[int, int], crop_mode: str, crop: int, crop_pct: float, interpolation: str
) -> None:
    if crop_mode == "border" and min(size) * crop < max(size):
        pytest.skip("timm makes pictures without pixels of such slim ones, and fails on them")
    mean = (0.1, 0.5, 0.9)
    own = create_transform(
        (3, crop, crop), crop_pct=crop_pct, crop_mode=crop_mode, interpolation=interpolation, mean=mean, normalize=False
    )
    wanted = Preprocessing(int(crop / crop_pct), crop, mean, (1.0,) * 3, interpolation, crop_mode=crop_mode)
    with tensors_resized():
        assert torch.equal(preprocess.crop(picture(size), wanted), own(picture(size)))


@pytest.mark.parametrize("architecture", ["resnet18.a1_in1k", "timm/resnet18", "eva02_tiny_patch14_224", LITE0])
def test_timms_names_lead_to_timm(architecture: str) -> None:
    assert families.name_of(families.find(architecture)) == "timm"


def test_a_name_that_torchvision_has_too_is_torchvisions() -> None:
    assert families.name_of(families.find("resnet18")) == "torchvision"


def test_a_tag_chooses_the_preprocessing() -> None:
    presets = timm.presets("timm/resnet50")
    assert presets["a1_in1k"] == timm.preprocessing("resnet50.a1_in1k") != timm.preprocessing("resnet50.tv_in1k")


@pytest.mark.parametrize(
    ("architecture", "complaint"),
    [
        ("timm/resnet51", "no architecture 'resnet51'"),
        ("resnet50.a9_in1k", "there are: a1_in1k"),
    ],
)
def test_what_cannot_be_prepared_is_refused_with_the_reason(architecture: str, complaint: str) -> None:
    with pytest.raises(BadOption, match=complaint):
        timm.preprocessing(architecture)


def test_of_weights_on_a_hub_no_address_is_known() -> None:
    published = families.pretrained("fastvit_t8")
    assert published
    assert (published.url, published.path, len(published.labels)) == ("", None, 1000)


def test_labels_are_those_of_the_pictures_that_the_weights_learned_from() -> None:
    in21k = timm.pretrained("vit_tiny_patch16_224.augreg_in21k")
    assert in21k
    assert (len(in21k.labels), in21k.labels[0]) == (21843, "organism, being")


def test_a_file_in_the_naming_of_another_port_is_renamed_and_any_other_left_alone() -> None:
    shipped = families.pretrained(LITE0)
    assert shipped
    assert shipped.path
    foreign = read_weights(shipped.path)
    own = timm.adapt(LITE0, foreign)
    assert torch.equal(own["blocks.0.0.conv_dw.weight"], foreign["_blocks.0._depthwise_conv.weight"])
    # Whatever the order of the file, and without the counters that only training uses.
    shuffled = {name: foreign[name] for name in sorted(foreign) if not name.endswith("num_batches_tracked")}
    again = timm.adapt(LITE0, shuffled)
    assert again.keys() == {name for name in own if not name.endswith("num_batches_tracked")}
    assert all(torch.equal(own[name], tensor) for name, tensor in again.items())
    assert timm.adapt(LITE0, own) is own


def test_a_network_with_two_heads_is_no_base_to_train_on() -> None:
    network = timm.build("deit_tiny_distilled_patch16_224", 10, 224).eval()
    batch = torch.zeros(1, 3, 224, 224)
    with pytest.raises(BadOption, match="more than one head"):
        heads.replace_head(network, torch.zeros(7, 192), torch.zeros(7), lambda: [batch])


def test_a_damaged_or_missing_file_of_a_package_is_not_used(tmp_path: Path) -> None:
    good = b"weights"
    (tmp_path / "w").write_bytes(good)
    assert model_check._installed(tmp_path / "w", hashlib.sha256(good).hexdigest(), "a") == tmp_path / "w"
    with pytest.raises(BadWeights, match="damaged"):
        model_check._installed(tmp_path / "w", "0" * 64, "a")
    with pytest.raises(BadWeights, match="missing"):
        model_check._installed(tmp_path / "nowhere", "0" * 64, "a")
