"""The engine: scores equal torchvision's, models are loaded and evicted by memory, and broken ones are not served."""

from __future__ import annotations

import hashlib
import io
import threading
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save
from torch import nn
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms import functional as pillow_reference

from shared.domain.jobs import BOTH
from shared.domain.models import ModelExample, ModelState, ModelVersion
from shared.domain.preprocessing import Preprocessing
from shared.errors import BadOption, BadWeights, BrokenPicture, InferqError
from shared.settings import Settings
from tests.long import rest_long
from worker import examination, families, optimise, preprocess
from worker.engine import Engine, Loaded, choose_device, top_k
from worker.examination import Wanted
from worker.families import digits, torchvision

pytestmark = pytest.mark.slow

CPU = Settings(device="cpu")
SIZES = [(640, 480), (333, 517), (224, 224), (256, 256), (17, 31), (1, 90), (1500, 40), (225, 1001)]
ARCHITECTURES = ["squeezenet1_1", "mobilenet_v3_small", "resnet18", "shufflenet_v2_x0_5", "googlenet"]


def picture(size: tuple[int, int], mode: str = "RGB") -> Image.Image:
    """Return a picture of waves and noise, a different one for each size."""
    rng = np.random.default_rng(size[0] * 10_000 + size[1])
    y, x = np.mgrid[0 : size[1], 0 : size[0]]
    slopes = rng.uniform(-0.2, 0.2, (3, 2))
    waves = np.stack([100 * np.sin(a * x + b * y) for a, b in slopes], axis=2)
    pixels = (128 + waves + rng.normal(0, 20, waves.shape)).clip(0, 255).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def preset(wanted: Preprocessing) -> v2.Compose:
    """Return torchvision's transforms for a tensor, with the values of the version."""
    return v2.Compose(
        [
            v2.PILToTensor(),
            v2.Resize([wanted.resize], InterpolationMode(wanted.interpolation), antialias=True),
            v2.CenterCrop([wanted.crop]),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(list(wanted.mean), list(wanted.std)),
        ]
    )


@cache
def network(architecture: str) -> nn.Module:
    """Return a network with random weights, scaled so that its answers differ from picture to picture."""
    torch.manual_seed(0)
    built = torchvision.build(architecture, 20, 224).eval()
    inputs = torch.stack([preset(torchvision.preprocessing(architecture))(picture(size)) for size in SIZES])
    with torch.no_grad():
        for module in built.modules():  # normalised by these very pictures, or the signal vanishes on its way
            if isinstance(module, nn.BatchNorm2d):
                module.momentum, module.training = None, True
        built(inputs)
        built.eval()
        head = families.penultimate(built)
        logits = built(inputs)
        head.weight *= 3 / logits.std(0).mean()
        head.bias -= (built(inputs)).mean(0)
    return built


class Shelf:
    """Blobs and versions, in place of the storage and the database."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}

    def version(self, architecture: str, key: str = "", **changes: object) -> ModelVersion:
        key = key or architecture
        self.blobs[key] = data = save({n: t.contiguous() for n, t in network(architecture).state_dict().items()})
        version = ModelVersion(
            id=key,
            tenant="*",
            name=key,
            version="1",
            family="torchvision",
            architecture=architecture,
            state=ModelState.READY,
            created_at=0.0,
            labels=tuple(f"label {n}" for n in range(20)),
            preprocessing=torchvision.preprocessing(architecture),
            weights=key,
            checksum=hashlib.sha256(data).hexdigest(),
        )
        return replace(version, **changes)  # type: ignore[arg-type]


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def engine(shelf: Shelf) -> Engine:
    return Engine(CPU, shelf.blobs.__getitem__)


# scores equal torchvision's


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize(
    ("resize", "crop", "interpolation"),
    [(256, 224, "bilinear"), (232, 224, "bilinear"), (518, 518, "bicubic"), (20, 33, "bilinear")],
)
def test_pictures_are_cropped_bit_for_bit_as_torchvision_crops_tensors(
    size: tuple[int, int], mode: str, resize: int, crop: int, interpolation: str
) -> None:
    image = picture(size, mode)
    wanted = Preprocessing(resize, crop, (0.5,) * len(mode), (0.5,) * len(mode), interpolation, mode)
    expected = v2.Compose(preset(wanted).transforms[:3])(image)
    assert torch.equal(preprocess.crop(image, wanted), expected)


def by_pillow(image: Image.Image, wanted: Preprocessing) -> torch.Tensor:
    """Return what torchvision makes of a picture that it resizes with Pillow."""
    resized = pillow_reference.resize(image, [wanted.resize], InterpolationMode(wanted.interpolation))
    cropped: torch.Tensor = pillow_reference.pil_to_tensor(pillow_reference.center_crop(resized, [wanted.crop]))
    return cropped


@pytest.mark.parametrize(("interpolation", "levels"), [("bilinear", 1), ("bicubic", 2)])
@pytest.mark.parametrize("size", SIZES)
def test_pixels_differ_from_pillows_by_a_level_or_two_in_few_places(
    size: tuple[int, int], interpolation: str, levels: int
) -> None:
    wanted = Preprocessing(256, 224, (0.5,) * 3, (0.5,) * 3, interpolation)
    difference = (preprocess.crop(picture(size), wanted).int() - by_pillow(picture(size), wanted).int()).abs()
    assert difference.max() <= levels
    assert (difference > 0).float().mean() < 0.02


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("size", SIZES)
def test_a_filter_that_tensors_have_otherwise_is_pillows(size: tuple[int, int], mode: str) -> None:
    wanted = Preprocessing(32, 32, (0.5,) * len(mode), (0.5,) * len(mode), "nearest", mode)
    assert torch.equal(preprocess.crop(picture(size, mode), wanted), by_pillow(picture(size, mode), wanted))


def test_a_crop_outlives_the_picture_whose_memory_it_was_read_from() -> None:
    wanted = Preprocessing(40, 40, (0.5,), (0.5,), mode="L")
    image = Image.new("L", (40, 40), 7)
    crop = preprocess.crop(image, wanted)
    image.paste(9, (0, 0, 40, 40))
    assert torch.equal(crop, torch.full((1, 40, 40), 7))


@pytest.mark.parametrize("architecture", rest_long(ARCHITECTURES))
def test_scores_equal_torchvisions_own(architecture: str, shelf: Shelf, engine: Engine) -> None:
    version = shelf.version(architecture)
    assert version.preprocessing
    images = [picture(size) for size in SIZES] + [picture((300, 300), "L").convert("RGB")]
    with torch.inference_mode():
        inputs = torch.stack([preset(version.preprocessing)(image) for image in images])
        expected = network(architecture)(inputs).softmax(1)
    loaded = engine.load(version)
    scores = loaded.forward([loaded.prepare(png(image)) for image in images]).softmax(1)
    assert (scores - expected).abs().max() < 1e-4
    assert expected.argmax(1).unique().numel() > 3, "the pictures must differ, or any answer would do"


@pytest.mark.parametrize("architecture", ["squeezenet1_1", "resnet18"])
def test_features_are_what_enters_the_head(architecture: str, shelf: Shelf, engine: Engine) -> None:
    version = shelf.version(architecture)
    assert version.preprocessing
    plain, entered = network(architecture), []
    hook = families.penultimate(plain).register_forward_pre_hook(lambda module, inputs: entered.append(inputs[0]))
    with torch.inference_mode():
        plain(torch.stack([preset(version.preprocessing)(picture(size)) for size in SIZES]))
    hook.remove()
    expected = entered[0].mean((2, 3)) if entered[0].ndim == 4 else entered[0]
    loaded = engine.load(version)
    features = loaded.forward([loaded.prepare(png(picture(size))) for size in SIZES], "features")
    assert features.shape == (len(SIZES), 512)
    assert torch.allclose(features, expected, atol=1e-4 * expected.abs().max().item())


@pytest.mark.parametrize("architecture", ["squeezenet1_1", "resnet18"])
def test_logits_and_features_of_one_pass_are_those_of_two(architecture: str, shelf: Shelf, engine: Engine) -> None:
    loaded = engine.load(shelf.version(architecture))
    prepared = [loaded.prepare(png(picture(size))) for size in SIZES]
    apart = [loaded.forward(prepared), loaded.forward(prepared, "features")]
    assert torch.allclose(loaded.forward(prepared, BOTH), torch.cat(apart, dim=1), atol=1e-5)


def test_grey_pictures_enter_a_grey_network_and_digits_are_read(shelf: Shelf, engine: Engine) -> None:
    shelf.blobs["digits"] = digits.WEIGHTS.read_bytes()
    version = replace(
        shelf.version("squeezenet1_1"),
        id="d",
        family="digits",
        architecture="digits",
        labels=tuple("0123456789"),
        preprocessing=digits.PREPROCESSING,
        weights="digits",
        checksum=str(digits.card()["sha256"]),
    )
    loaded = engine.load(version)
    inputs = [loaded.prepare((digits.SAMPLES / f"digit_{digit}.png").read_bytes()) for digit in range(10)]
    answers = top_k(loaded.forward(inputs), version.labels, 1)
    assert [ranked[0][0] for ranked in answers] == list("0123456789")


# batches


def test_a_picture_is_answered_alike_alone_in_a_batch_and_from_another_thread(shelf: Shelf, engine: Engine) -> None:
    loaded = engine.load(shelf.version("resnet18"))
    inputs = [loaded.prepare(png(picture(size))) for size in SIZES] * 2
    alone = torch.cat([loaded.forward([picture]) for picture in inputs])
    together: list[torch.Tensor] = []
    thread = threading.Thread(target=lambda: together.append(loaded.forward(inputs)))
    thread.start()
    thread.join()
    assert torch.allclose(alone, together[0], atol=1e-4)


def test_a_broken_picture_raises_when_it_is_prepared(shelf: Shelf, engine: Engine) -> None:
    loaded = engine.load(shelf.version("squeezenet1_1"))
    with pytest.raises(BrokenPicture):
        loaded.prepare(png(picture((64, 64)))[:200])


class Moody(nn.Module):
    """A network that cannot be traced, is out of memory above `room` pictures, and gives NaN for a picture of zeros."""

    room = 1000

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[0] > self.room:
            raise torch.OutOfMemoryError("there is no room")
        pixel = x[:, :, 0, 0]
        scores: torch.Tensor = self.head(pixel) / (pixel != 0).any(1, keepdim=True)
        return scores


@pytest.fixture
def moody(shelf: Shelf) -> Loaded:
    plain = Preprocessing(8, 8, (0.0,) * 3, (1.0,) * 3)
    return Loaded(shelf.version("squeezenet1_1", preprocessing=plain), Moody().eval(), torch.device("cpu"), CPU)


def test_a_batch_too_large_for_the_device_is_halved_for_good(moody: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = [torch.full((3, 8, 8), value, dtype=torch.uint8) for value in range(1, 12)]
    expected = moody.forward(inputs)
    monkeypatch.setattr(Moody, "room", 3)
    torch.testing.assert_close(moody.forward(inputs), expected)  # another batch size may round another way
    assert moody.max_batch == 2


def test_one_picture_too_large_for_the_device_is_an_error(moody: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Moody, "room", 0)
    with pytest.raises(InferqError, match="too little memory for one picture"):
        moody.forward([torch.ones(3, 8, 8, dtype=torch.uint8)])


def test_an_answer_that_is_no_number_is_an_error(moody: Loaded) -> None:
    with pytest.raises(InferqError, match="NaN"):
        moody.forward([torch.zeros(3, 8, 8, dtype=torch.uint8)])


# loading


def test_a_version_is_loaded_once(shelf: Shelf, engine: Engine) -> None:
    version = shelf.version("squeezenet1_1")
    first = engine.load(version)
    shelf.blobs.clear()
    assert engine.load(version) is first
    engine.forget(version.id)
    with pytest.raises(KeyError):
        engine.load(version)


def test_the_least_recently_used_model_makes_room(shelf: Shelf) -> None:
    versions = {key: shelf.version("squeezenet1_1", key) for key in "abc"}
    size = len(shelf.blobs["a"])
    engine = Engine(CPU.changed(model_memory=int(2.5 * size)), shelf.blobs.__getitem__)
    for key in "abac":
        engine.load(versions[key])
    assert engine.loaded() == ["a/1", "c/1"]


def test_a_model_larger_than_the_limit_is_served_alone(shelf: Shelf) -> None:
    engine = Engine(CPU.changed(model_memory=1), shelf.blobs.__getitem__)
    for key in "ab":
        engine.load(shelf.version("squeezenet1_1", key))
    assert engine.loaded() == ["b/1"]


def test_a_model_that_hangs_while_it_is_loaded_ends_the_process(
    shelf: Shelf, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended, gone = list[str](), threading.Event()

    def end(seconds: float, work: str) -> None:
        ended.append(work)
        gone.set()

    monkeypatch.setattr("worker.time_limit._end", end)
    monkeypatch.setattr("worker.engine.LOADING", 0.01)
    monkeypatch.setattr(Loaded, "warm_up", lambda self, example: gone.wait(60))
    version = shelf.version("squeezenet1_1")
    engine.load(version)
    assert ended == [f"loading model {version.name} version {version.version}"]


def test_new_weights_under_an_old_id_are_loaded_anew(shelf: Shelf, engine: Engine) -> None:
    first = engine.load(shelf.version("squeezenet1_1", "x"))
    assert engine.load(shelf.version("resnet18", "x")) is not first


def test_damaged_weights_are_not_served(shelf: Shelf, engine: Engine) -> None:
    version = shelf.version("squeezenet1_1")
    shelf.blobs[version.weights] = shelf.blobs[version.weights][:-1] + b"\0"
    with pytest.raises(BadWeights, match="damaged"):
        engine.load(version)
    assert engine.loaded() == []


def test_the_wrong_number_of_labels_is_not_served(shelf: Shelf, engine: Engine) -> None:
    with pytest.raises(BadWeights, match="20 outputs, but 1 label was"):
        engine.load(shelf.version("squeezenet1_1", labels=("one",)))


def test_a_version_without_preprocessing_is_not_served(shelf: Shelf, engine: Engine) -> None:
    with pytest.raises(BadWeights, match="how to prepare"):
        engine.load(shelf.version("squeezenet1_1", preprocessing=None))


def test_only_a_version_that_reproduces_its_example_is_served(tmp_path: Path, shelf: Shelf, engine: Engine) -> None:
    version = shelf.version("squeezenet1_1")
    (tmp_path / "w").write_bytes(shelf.blobs[version.weights])
    examined = examination.examine(tmp_path / "w", tmp_path, Wanted("squeezenet1_1", labels=version.labels))
    shelf.blobs["example"] = examined.example_png
    right = replace(version, example=ModelExample("example", examined.example_logits))
    assert engine.load(right).version == right
    moved = tuple(value + 0.01 * max(map(abs, examined.example_logits)) for value in examined.example_logits)
    with pytest.raises(BadWeights, match="does not reproduce its example"):
        engine.load(replace(right, id="other", example=ModelExample("example", moved)))


# devices


def test_unknown_devices_are_refused() -> None:
    for name in ("gpu", "mps", "cuda:99", "cpu:7"):
        with pytest.raises(BadOption):
            choose_device(name)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize(("precision", "tolerance"), [("exact", 1e-4), ("fast", 0.1)])
def test_scores_on_the_gpu_equal_torchvisions_own(
    shelf: Shelf, precision: Literal["exact", "fast"], tolerance: float
) -> None:
    version = shelf.version("resnet18")
    assert version.preprocessing
    with torch.inference_mode():
        inputs = torch.stack([preset(version.preprocessing)(picture(size)) for size in SIZES])
        expected = network("resnet18")(inputs).softmax(1)
    loaded = Engine(Settings(precision=precision), shelf.blobs.__getitem__).load(version)
    scores = loaded.forward([loaded.prepare(png(picture(size))) for size in SIZES]).softmax(1)
    assert (scores - expected).abs().max() < tolerance


# ranking


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("softmax", [("c", 0.66524), ("a", 0.24473), ("b", 0.09003)]),
        ("sigmoid", [("c", 0.88080), ("a", 0.73106), ("b", 0.5)]),
        ("none", [("c", 2.0), ("a", 1.0), ("b", 0.0)]),
    ],
)
def test_labels_are_ranked_with_their_scores(function: str, expected: list[tuple[str, float]]) -> None:
    ranked = top_k(torch.tensor([[1.0, 0.0, 2.0]]), ["a", "b", "c"], 3, function)[0]
    assert [label for label, _ in ranked] == [label for label, _ in expected]
    assert [score for _, score in ranked] == pytest.approx([score for _, score in expected], abs=1e-5)


def test_more_labels_than_there_are_is_all_of_them_and_ties_keep_their_order() -> None:
    logits = torch.zeros(2, 100)
    labels = [str(number) for number in range(100)]
    ranked = top_k(logits, labels, 1000)
    assert [[label for label, _ in row] for row in ranked] == [labels, labels]


def test_saturated_scores_are_still_ranked_by_their_logits() -> None:
    assert [label for label, _ in top_k(torch.tensor([[50.0, 90.0]]), ["a", "b"], 2, "sigmoid")[0]] == ["b", "a"]


def test_an_unknown_function_is_refused() -> None:
    with pytest.raises(BadOption, match="softmax, sigmoid or none"):
        top_k(torch.zeros(1, 2), ["a", "b"], 1, "relu")


def test_a_stack_of_crops_needs_no_reordering() -> None:
    crops = [preprocess.crop(picture(size), torchvision.preprocessing("resnet18")) for size in SIZES]
    stacked = preprocess.stack(crops)
    assert stacked.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(stacked, torch.stack(crops))


def test_no_network_runs_while_another_is_traced(moody: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tracing puts hooks into every module of the process, and a network that runs in another thread fails on them."""
    ran, meanwhile = threading.Event(), list[bool]()
    picture = torch.ones(3, 8, 8, dtype=torch.uint8)

    def run() -> None:
        moody.forward([picture])
        ran.set()

    thread = threading.Thread(target=run)

    def fuse(network: nn.Module, inplace: bool) -> nn.Module:
        thread.start()
        meanwhile.append(ran.wait(0.3))
        return network

    monkeypatch.setattr(optimise, "fuse", fuse)
    optimise.fused(nn.Linear(1, 1))
    assert meanwhile == [False]
    assert ran.wait(30)
    thread.join()
