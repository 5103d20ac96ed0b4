"""Models as people have them: each format comes in and gives the scores of the library that made it."""

from __future__ import annotations

import argparse
import io
import json
import pathlib
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import timm
import torch
import torchvision
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file
from timm.data.config import resolve_data_config
from timm.data.transforms_factory import create_transform
from torch import nn

from shared.domain.models import ImportOptions, ModelExample, ModelState, ModelVersion, ProblemType
from shared.domain.preprocessing import Origin, PreprocessingRequest, parse_request
from shared.errors import BadOption, BadWeights
from shared.settings import Settings
from tests.long import rest_long
from tests.unit.tensor_resize import tensors_resized
from worker import examination, families
from worker.engine import Engine
from worker.examination import Check, Examined, Wanted

pytestmark = pytest.mark.slow

LABELS = ("ant", "bee", "cat", "dog", "eel")
SHAPES = [(640, 427), (333, 500), (61, 47), (255, 256)]
NEAR = 1e-4
"""Allowed difference of scores from those of the source library."""


def photo(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """Return a picture of waves and noise, another one for each size."""
    y, x = np.mgrid[0:height, 0:width]
    waves = np.stack([128 + 100 * np.sin(x / (7 + a) + y / (11 - a)) for a in range(3)], axis=2)
    noise = np.random.default_rng(width).normal(0, 25, waves.shape)
    return Image.fromarray((waves + noise).clip(0, 255).astype(np.uint8)).convert(mode)


def png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def lively(network: nn.Module) -> nn.Module:
    """Scale the last layer, so that the answers for different pictures differ."""
    with torch.no_grad():
        families.penultimate(network).weight.mul_(20)  # type: ignore[operator]
    return network.eval()


def zipped(folder: Path, top: str = "") -> Path:
    """Return a zip of a folder's files, below a folder of its own if `top` names one."""
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for member in sorted(each for each in folder.rglob("*") if each.is_file()):
            archive.write(member, f"{top}{member.relative_to(folder)}")
    return path


def saved(content: object, path: Path) -> Path:
    torch.save(content, path)
    return path


def served(examined: Examined, pictures: list[Image.Image]) -> torch.Tensor:
    """Return the logits (N, classes) of an examined model, as a worker loads, optimises and prepares it."""
    version = ModelVersion(
        "id", "anna", "mine", "1", examined.family, examined.architecture, ModelState.READY, 0.0,
        labels=examined.labels, preprocessing=examined.preprocessing, weights="weights", checksum=examined.checksum,
        config=json.loads(json.dumps(dict(examined.config))),
        example=ModelExample("example", examined.example_logits),
    )  # fmt: skip
    blobs = {"weights": examined.path.read_bytes(), "example": examined.example_png}
    model = Engine(Settings(), blobs.__getitem__).load(version)
    return model.forward([model.prepare(png(picture)) for picture in pictures])


def difference(examined: Examined, reference: Callable[[Image.Image], torch.Tensor]) -> float:
    """Return the largest difference of a score from the reference's, over pictures of all SHAPES."""
    pictures = [photo(*shape) for shape in SHAPES]
    theirs = torch.stack([reference(picture) for picture in pictures])
    return (served(examined, pictures).softmax(1) - theirs.softmax(1)).abs().max().item()


def refusal(path: Path, folder: Path, **wanted: Any) -> str:
    with pytest.raises((BadWeights, BadOption)) as caught:
        examination.examine(path, folder, Wanted(**wanted))
    return caught.value.message


# torchvision


@pytest.mark.parametrize("preset", ["IMAGENET1K_V1", "IMAGENET1K_V2"])
def test_torchvision_state_dicts_give_torchvisions_scores(tmp_path: Path, preset: str) -> None:
    torch.manual_seed(0)
    network = lively(torchvision.models.resnet18(num_classes=5))
    release = torchvision.models.ResNet50_Weights[preset]
    wanted = Wanted("resnet18", LABELS, PreprocessingRequest(f"ResNet50_Weights.{preset}"))
    examined = examination.examine(saved(network.state_dict(), tmp_path / "w.pth"), tmp_path, wanted)
    with torch.inference_mode(), tensors_resized():
        assert difference(examined, lambda picture: network(release.transforms()(picture)[None])[0]) < NEAR


# timm


def timm_folder(folder: Path, architecture: str, config: dict[str, Any], **arguments: Any) -> nn.Module:
    """Save a small network with random weights as timm does, and return it."""
    torch.manual_seed(0)
    network: Any = lively(timm.create_model(architecture, num_classes=5, **arguments))
    folder.mkdir()
    cfg = {**network.pretrained_cfg, **config, "num_classes": 5, "label_names": list(LABELS)}
    described = {"architecture": architecture, "num_classes": 5, "pretrained_cfg": cfg, "model_args": arguments}
    (folder / "config.json").write_text(json.dumps(described, default=str))
    save_file(network.state_dict(), folder / "model.safetensors")
    return cast(nn.Module, network)


def timm_transform(pretrained_cfg: Any) -> Any:
    """Return timm's own evaluation transform."""
    resolve: Any = resolve_data_config
    return create_transform(**resolve(pretrained_cfg=pretrained_cfg))


@pytest.mark.parametrize(
    ("architecture", "config", "arguments"),
    rest_long(
        [
            ("resnet10t", {"input_size": [3, 160, 160], "crop_pct": 0.9, "interpolation": "bicubic"}, {}),
            ("resnet10t", {"input_size": [3, 128, 192], "crop_mode": "center"}, {}),
            ("resnet10t", {"input_size": [3, 192, 128], "crop_mode": "border", "mean": [0.5] * 3}, {}),
            (
                "resnet10t",
                {"crop_mode": "squash", "crop_pct": 1.0, "interpolation": "bilinear"},
                {"global_pool": "max"},
            ),
            ("vit_tiny_patch16_224", {"input_size": [3, 96, 96]}, {"img_size": 96, "depth": 2}),
        ]
    ),
)
def test_timm_folders_give_timms_scores(
    tmp_path: Path, architecture: str, config: dict[str, Any], arguments: dict[str, Any]
) -> None:
    network = timm_folder(tmp_path / "model", architecture, config, **arguments)
    cfg = json.loads((tmp_path / "model" / "config.json").read_text())["pretrained_cfg"]
    transform = timm_transform(cfg)
    examined = examination.examine(zipped(tmp_path / "model", "model/"), tmp_path, Wanted())
    assert (examined.family, examined.architecture) == ("timm", f"timm/{architecture}")
    assert examined.labels == LABELS
    assert examined.preset
    assert (examined.preset.name, examined.preset.origin) == ("config.json", Origin.INCLUDED)
    with torch.inference_mode(), tensors_resized():
        assert difference(examined, lambda picture: network(transform(picture)[None])[0]) < NEAR


def test_a_config_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    timm_folder(tmp_path / "m", "vit_tiny_patch16_224", {"input_size": [3, 96, 96]}, img_size=96, depth=2)
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    config["model_args"]["embed_dim"] = 300_000
    (tmp_path / "m" / "config.json").write_text(json.dumps(config))
    assert "parameters, and the file holds" in refusal(zipped(tmp_path / "m"), tmp_path)


def test_a_timm_training_checkpoint_with_two_sets_asks_which(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network, ema = (lively(timm.create_model("resnet10t", num_classes=5)) for _ in range(2))
    content = {
        "epoch": 3, "arch": "resnet10t", "args": argparse.Namespace(lr=0.1), "metric": 0.9, "version": 2,
        "state_dict": network.state_dict(), "state_dict_ema": ema.state_dict(),
        "optimizer": torch.optim.Adam(network.parameters()).state_dict(),
    }  # fmt: skip
    path = saved(content, tmp_path / "last.pth.tar")
    message = refusal(path, tmp_path, architecture="timm/resnet10t", labels=LABELS)
    assert "several sets of weights: state_dict (" in message
    assert "`state_key` state_dict_ema" in message

    wanted = Wanted("timm/resnet10t", LABELS, options=ImportOptions("state_dict_ema"))
    examined = examination.examine(path, tmp_path, wanted)
    prepared = timm_transform(ema.pretrained_cfg)
    with torch.inference_mode(), tensors_resized():
        assert difference(examined, lambda picture: ema(prepared(picture)[None])[0]) < NEAR
    assert "'teacher'; it has: state_dict" in refusal(
        path, tmp_path, architecture="timm/resnet10t", labels=LABELS, options=ImportOptions("teacher")
    )


# transformers

_TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


def hugging_face_folder(folder: Path, name: str, processor: Any, **config: Any) -> nn.Module:
    """Save a small network with random weights, and its processor, and return the network."""
    torch.manual_seed(0)
    values = {"id2label": dict(enumerate(LABELS)), "label2id": {label: n for n, label in enumerate(LABELS)}} | config
    kind = getattr(transformers, f"{name}Config")
    network: Any = getattr(transformers, f"{name}ForImageClassification")(kind(**values))
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.mul_(5)
    network.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    return cast(nn.Module, network)


def by_transformers(network: nn.Module, folder: Path) -> Callable[[Image.Image], torch.Tensor]:
    library: Any = transformers
    processor = library.AutoImageProcessor.from_pretrained(folder, backend="torchvision", local_files_only=True)

    def logits(picture: Image.Image) -> torch.Tensor:
        with torch.inference_mode():
            answer: torch.Tensor = network(**processor(picture, return_tensors="pt")).logits[0]
        return answer

    return logits


_FOLDERS = [
    ("ViT", "ViTImageProcessor", {}, _TINY),
    ("ViT", "ViTImageProcessor", {"size": 224, "resample": 3}, _TINY),
    ("ViT", "ViTImageProcessor", {"size": {"height": 192, "width": 256}}, _TINY | {"image_size": (192, 256)}),
    ("DeiT", "DeiTImageProcessor", {}, _TINY),
    ("Beit", "BeitImageProcessor", {"do_center_crop": True, "size": 256}, _TINY),
    ("ResNet", "ConvNextImageProcessor", {"size": {"shortest_edge": 224}, "crop_pct": 0.9},
     {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}),
    ("ConvNext", "ConvNextImageProcessor", {"size": {"shortest_edge": 384}},
     {"hidden_sizes": [8, 8, 8, 8], "depths": [1, 1, 1, 1]}),
    ("Dinov2", "BitImageProcessor", {"size": {"shortest_edge": 255}}, _TINY),
    ("MobileViT", "MobileViTImageProcessor", {"size": {"shortest_edge": 288}}, {}),
    ("EfficientNet", "EfficientNetImageProcessor", {"size": {"height": 128, "width": 128}, "rescale_offset": True,
     "rescale_factor": 1 / 127.5}, {"width_coefficient": 0.5, "depth_coefficient": 0.3, "hidden_dim": 640}),
    ("PoolFormer", "PoolFormerImageProcessor", {}, {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 16, 16]}),
    ("Swin", "ViTImageProcessor", {"do_normalize": False}, {"embed_dim": 16, "depths": [1, 1], "num_heads": [1, 2]}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "processor", "values", "config"), rest_long(_FOLDERS))
def test_hugging_face_folders_give_the_scores_of_transformers(
    tmp_path: Path, name: str, processor: str, values: dict[str, Any], config: dict[str, Any]
) -> None:
    folder = tmp_path / "model"
    network = hugging_face_folder(folder, name, getattr(transformers, processor)(**values), **config)
    examined = examination.examine(zipped(folder), tmp_path, Wanted())
    assert (examined.family, examined.architecture) == ("transformers", f"{name}ForImageClassification")
    assert (examined.labels, examined.problem_type) == (LABELS, ProblemType.SINGLE_LABEL)
    assert difference(examined, by_transformers(network, folder)) < NEAR


def test_a_multi_label_folder_is_one(tmp_path: Path) -> None:
    kind = "multi_label_classification"
    hugging_face_folder(tmp_path / "m", "ViT", transformers.ViTImageProcessor(), problem_type=kind, **_TINY)
    examined = examination.examine(zipped(tmp_path / "m"), tmp_path, Wanted())
    assert (examined.problem_type, examined.thresholds) == (ProblemType.MULTI_LABEL, (0.5,))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda config: config | {"model_type": "bert"}, "The model_type 'bert' is no image classifier"),
        (lambda config: config | {"model_type": "nowhere", "auto_map": {"AutoModel": "code.Model"}}, "'nowhere' is no"),
        (lambda config: config | {"architectures": ["ViTModel"]}, "ViTModel, which has no classifier"),
        (lambda config: config | {"problem_type": "regression"}, "regression"),
        (lambda config: config | {"num_hidden_layers": 3}, "missing (vit."),
        (lambda config: config | {"num_hidden_layers": 1}, "not part of the network (vit."),
        (lambda config: config | {"hidden_size": 64}, "of another shape"),
        (lambda config: config | {"hidden_size": 100_000}, "parameters, and the file holds"),
        (lambda config: {}, "names neither a model_type of transformers nor an architecture of timm"),
    ],
)
def test_a_folder_that_does_not_fit_itself_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], dict[str, Any]], complaint: str
) -> None:
    folder = tmp_path / "model"
    hugging_face_folder(folder, "ViT", transformers.ViTImageProcessor(), **_TINY)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(change(config)))
    assert complaint in refusal(zipped(folder), tmp_path)


def test_pickled_weights_of_a_hugging_face_folder_are_refused_with_the_conversion(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    network = hugging_face_folder(folder, "ViT", transformers.ViTImageProcessor(), **_TINY)
    (folder / "model.safetensors").unlink()
    saved(network.state_dict(), folder / "pytorch_model.bin")
    assert "save_pretrained" in refusal(zipped(folder), tmp_path)


def test_a_folder_without_its_processor_asks_for_the_preprocessing(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    hugging_face_folder(folder, "ViT", transformers.ViTImageProcessor(), **_TINY)
    (folder / "preprocessor_config.json").unlink()
    assert "`resize`, `crop`, `mean` and `std`" in refusal(zipped(folder), tmp_path)
    given = parse_request(None, {"resize": 224, "crop": 224, "mean": 0.5, "std": 0.5, "crop_mode": "squash"})
    examined = examination.examine(zipped(folder), tmp_path, Wanted(preprocessing=given))
    assert examined.preprocessing.crop_mode == "squash"


def test_a_processor_that_cannot_be_reproduced_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    hugging_face_folder(folder, "ViT", transformers.ViTImageProcessor(), **_TINY)
    transformers.PerceiverImageProcessor().save_pretrained(folder)
    assert "cannot be prepared as PerceiverImageProcessor" in refusal(zipped(folder), tmp_path)


def test_weights_that_were_trained_here_on_a_base_of_transformers_come_back(
    tmp_path: Path,
) -> None:
    hugging_face_folder(tmp_path / "m", "ViT", transformers.ViTImageProcessor(), **_TINY)
    base = examination.examine(zipped(tmp_path / "m"), tmp_path, Wanted())
    state = load_file(base.path)
    classes = torch.randn(3, 32)
    trained = state | {"model.classifier.weight": classes, "model.classifier.bias": torch.zeros(3)}
    save_file(trained, tmp_path / "trained.safetensors")
    wanted = Wanted(base.architecture, "abc", base.preprocessing, family=base.family, config=base.config)
    examined = examination.examine(tmp_path / "trained.safetensors", tmp_path, wanted)
    assert torch.equal(load_file(examined.path)["model.classifier.weight"], classes)


# checkpoints


class Module:
    """Stands for a class of a training script that is not installed here."""


@pytest.mark.long
@pytest.mark.parametrize(
    "names",
    [
        lambda name: f"module.{name}",
        lambda name: f"model.{name}",
        lambda name: f"net.{name}",
        lambda name: f"module.model._orig_mod.{name}",
        lambda name: f"some.attribute.of.mine.{name}",
    ],
)
def test_a_lightning_checkpoint_comes_in_as_its_tensors(tmp_path: Path, names: Callable[[str], str]) -> None:
    torch.manual_seed(0)
    network = lively(torchvision.models.resnet18(num_classes=5))
    state = {names(name): tensor for name, tensor in network.state_dict().items()}
    content = {
        "state_dict": state | {"criterion.weight": torch.ones(5)}, "epoch": 1, "global_step": 9,
        "pytorch-lightning_version": "2.3.0", "hyper_parameters": {"root": pathlib.PurePosixPath("data")},
        "callbacks": {"ModelCheckpoint": {"best_model_path": pathlib.PurePosixPath("x")}},
        "optimizer_states": [torch.optim.SGD(network.parameters(), 0.1, momentum=0.9).state_dict()],
    }  # fmt: skip
    wanted = Wanted("resnet18", LABELS)
    examined = examination.examine(saved(content, tmp_path / "last.ckpt"), tmp_path, wanted)
    transforms = torchvision.models.ResNet18_Weights.DEFAULT.transforms()
    with torch.inference_mode(), tensors_resized():
        assert difference(examined, lambda picture: network(transforms(picture)[None])[0]) < NEAR


def test_a_teacher_and_a_student_in_one_checkpoint_ask_which(tmp_path: Path) -> None:
    networks = {name: torchvision.models.squeezenet1_1(num_classes=5) for name in ("teacher", "student")}
    state = {f"{name}.{key}": t for name, network in networks.items() for key, t in network.state_dict().items()}
    path = saved({"state_dict": state}, tmp_path / "w.ckpt")
    assert "several times: teacher, student" in refusal(path, tmp_path, architecture="squeezenet1_1", labels=LABELS)
    wanted = Wanted("squeezenet1_1", LABELS, options=ImportOptions("student"))
    examined = examination.examine(path, tmp_path, wanted)
    assert examined.labels == LABELS


def test_an_averaged_model_comes_in(tmp_path: Path) -> None:
    averaged = torch.optim.swa_utils.AveragedModel(torchvision.models.squeezenet1_1(num_classes=5))
    path = saved(averaged.state_dict(), tmp_path / "ema.pth")
    assert examination.examine(path, tmp_path, Wanted("squeezenet1_1", LABELS)).labels == LABELS


# other frameworks


def _torch_script(folder: Path) -> Path:
    with warnings.catch_warnings(action="ignore"):  # torch deprecates it, and people have such files
        script: Any = torch.jit.script(nn.Linear(2, 2))
        script.save(folder / "model.pt")
    return folder / "model.pt"


def _exported(folder: Path) -> Path:
    torch.export.save(torch.export.export(nn.Linear(2, 2), (torch.ones(1, 2),)), folder / "model.pt2")
    return folder / "model.pt2"


def _zip(folder: Path, *names: str) -> Path:
    with zipfile.ZipFile(folder / "m.zip", "w") as archive:
        for name in names:
            archive.writestr(name, "{}" if name.endswith("json") else b"x" * 100)
    return folder / "m.zip"


def _bytes(data: bytes) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / "file").write_bytes(data)
        return folder / "file"

    return write


@pytest.mark.parametrize(
    ("make", "advice"),
    [
        (_torch_script, "torch.jit.load('FILE').state_dict()"),
        (_exported, "torch.export.load('FILE')"),
        (_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100)), "keras.models.load_model('FILE').export("),
        (lambda folder: _zip(folder, "config.json", "metadata.json", "model.weights.h5"), "keras.models.load_model"),
        (
            lambda folder: _zip(folder, "m/saved_model.pb", "m/variables/variables.index"),
            "tf2onnx.convert --saved-model",
        ),
        (_bytes(b"\x1c\0\0\0TFL3" + bytes(100)), "tf2onnx.convert --tflite"),
        (_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), "git lfs pull"),
        (_bytes(b"\n<!DOCTYPE html><html><body>Sign in</body></html>"), "HTML page"),
        (_bytes(b"\xff\xd8\xff\xe0" + bytes(100)), "The file is a JPEG picture, not a model."),
        (lambda folder: _zip(folder, "readme.txt"), "not one file of weights but 0 (none)"),
    ],
)
def test_other_frameworks_are_refused_with_the_command_that_converts(
    tmp_path: Path, make: Callable[[Path], Path], advice: str
) -> None:
    assert advice in refusal(make(tmp_path), tmp_path, architecture="resnet18", labels=LABELS)


def test_a_pickled_model_of_ultralytics_is_refused_with_the_export(tmp_path: Path) -> None:
    pickled = io.BytesIO()
    torch.save({"model": Module(), "ema": None, "train_args": {}}, pickled)
    name = f"{Module.__module__}\nModule".encode()
    data = _renamed(pickled.getvalue(), name, b"ultralytics.nn.tasks\nClassificationModel")
    (tmp_path / "best.pt").write_bytes(data)
    assert "yolo export model=FILE format=onnx" in refusal(tmp_path / "best.pt", tmp_path, architecture="resnet18")


def _renamed(data: bytes, old: bytes, new: bytes) -> bytes:
    """Return a zipped pickle that names another class."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(made, "w") as target:
        for info in source.infolist():
            target.writestr(info.filename, source.read(info).replace(old, new))
    return made.getvalue()


# TorchServe


def mar(folder: Path, serialized: bytes, name: str = "model.pth", handler: str = "image_classifier") -> Path:
    manifest = {"model": {"modelName": "m", "serializedFile": name, "modelFile": "model.py", "handler": handler}}
    with zipfile.ZipFile(folder / "m.mar", "w") as archive:
        archive.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest))
        archive.writestr("index_to_name.json", json.dumps({str(n): [f"n{n}", label] for n, label in enumerate(LABELS)}))
        archive.writestr("model.py", "raise SystemExit")
        archive.writestr(name, serialized)
    return folder / "m.mar"


def test_a_torchserve_archive_with_a_state_dict_comes_in_with_its_labels(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = lively(torchvision.models.resnet18(num_classes=5))
    content = io.BytesIO()
    torch.save(network.state_dict(), content)
    examined = examination.examine(mar(tmp_path, content.getvalue()), tmp_path, Wanted("resnet18"))
    assert examined.labels == LABELS
    transforms = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.transforms()
    with torch.inference_mode(), tensors_resized():
        assert difference(examined, lambda picture: network(transforms(picture)[None])[0]) < NEAR


def test_a_torchserve_archive_with_a_program_is_refused(tmp_path: Path) -> None:
    script = _torch_script(tmp_path).read_bytes()
    assert "torch.jit.load" in refusal(mar(tmp_path, script, "model.pt"), tmp_path, architecture="resnet18")


# what decides the answers


def test_a_network_with_one_output_answers_with_sigmoid_and_no_threshold(tmp_path: Path) -> None:
    state = torchvision.models.squeezenet1_1(num_classes=1).state_dict()
    path = saved(state, tmp_path / "one.pth")
    examined = examination.examine(path, tmp_path, Wanted("squeezenet1_1", ["defect"]))
    assert (examined.problem_type, examined.thresholds) == (ProblemType.MULTI_LABEL, ())
    single = ImportOptions(problem_type="single_label_classification")
    assert "always be 1" in refusal(path, tmp_path, architecture="squeezenet1_1", labels=["defect"], options=single)


def test_thresholds_are_one_for_all_or_one_per_label(tmp_path: Path) -> None:
    path = saved(torchvision.models.squeezenet1_1(num_classes=5).state_dict(), tmp_path / "w.pth")
    multi = "multi_label_classification"
    given = ImportOptions(problem_type=multi, thresholds=(0.1, 0.2, 0.3, 0.4, 0.5))
    assert examination.examine(path, tmp_path, Wanted("squeezenet1_1", LABELS, options=given)).thresholds[3] == 0.4
    wrong = ImportOptions(problem_type=multi, thresholds=(0.1, 0.2))
    assert "Give one threshold, or one for each of the 5 labels, not 2." in refusal(
        path, tmp_path, architecture="squeezenet1_1", labels=LABELS, options=wrong
    )


def test_a_check_refuses_the_model_unless_its_answer_is_the_expected_one(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = lively(torchvision.models.squeezenet1_1(num_classes=5))
    path = saved(network.state_dict(), tmp_path / "w.pth")
    transforms = torchvision.models.SqueezeNet1_1_Weights.DEFAULT.transforms()
    picture = photo(300, 200)
    with torch.inference_mode():
        answer = LABELS[int(network(transforms(picture)[None])[0].argmax())]
    wrong = next(label for label in LABELS if label != answer)

    def examine(*checks: Check) -> Examined:
        return examination.examine(path, tmp_path, Wanted("squeezenet1_1", LABELS, checks=checks))

    assert examine(Check("a.png", png(picture), answer)).labels == LABELS
    with pytest.raises(BadWeights, match=f"a.png should be '{wrong}', but the answer is {answer} 0"):
        examine(Check("a.png", png(picture), answer), Check("a.png", png(picture), wrong))
    with pytest.raises(BadOption, match=r"^The check of a\.png expects 'unicorn', which is none of the 5 labels\.$"):
        examine(Check("a.png", png(picture), "unicorn"))
    with pytest.raises(BadOption, match=r"^The picture b\.png of a check cannot be used\. The picture is damaged"):
        examine(Check("b.png", png(picture)[:500], answer))


def test_a_file_that_does_not_tell_its_architecture_asks_for_it(tmp_path: Path) -> None:
    path = saved(torchvision.models.squeezenet1_1(num_classes=5).state_dict(), tmp_path / "w.pth")
    assert "name it in `architecture`" in refusal(path, tmp_path, name="mine", labels=LABELS)
    assert examination.examine(path, tmp_path, Wanted(name="squeezenet1_1", labels=LABELS)).labels == LABELS


def test_an_architecture_that_contradicts_the_folder_is_refused(tmp_path: Path) -> None:
    timm_folder(tmp_path / "model", "resnet10t", {})
    path = zipped(tmp_path / "model")
    assert "is timm/resnet10t, not resnet18" in refusal(path, tmp_path, architecture="resnet18")
    assert examination.examine(path, tmp_path, Wanted("timm/resnet10t")).labels == LABELS


def test_a_zip_bomb_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.safetensors", bytes(50_000_000))
    assert "far more than a model" in refusal(tmp_path / "m.zip", tmp_path)


# folders that want more than to be read


@pytest.mark.parametrize("inside", ["", "model.pth"], ids=["whole", "in a folder"])
def test_a_zip_with_a_huge_directory_is_refused_before_that_is_read(tmp_path: Path, inside: str) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(200):
            archive.writestr(zipfile.ZipInfo(f"{number:060000}"), b"")
    if inside:
        (tmp_path / "m").mkdir()
        path = path.rename(tmp_path / "m" / inside)
        path = zipped(tmp_path / "m")
    assert "far more members than a model" in refusal(path, tmp_path)


def test_an_index_that_names_weights_outside_of_the_folder_is_refused(tmp_path: Path) -> None:
    network = hugging_face_folder(tmp_path / "model", "ViT", transformers.ViTImageProcessor(), **_TINY)
    (tmp_path / "model" / "model.safetensors").rename(tmp_path / "other.safetensors")
    save_file({"unused": torch.ones(1)}, tmp_path / "model" / "model-1.safetensors")
    for place in (str(tmp_path / "other.safetensors"), "../other.safetensors"):
        index = {"metadata": {}, "weight_map": dict.fromkeys(network.state_dict(), place)}
        (tmp_path / "model" / "model.safetensors.index.json").write_text(json.dumps(index))
        assert "names files of weights that are not in the folder" in refusal(zipped(tmp_path / "model"), tmp_path)


def test_values_that_name_code_are_not_looked_at(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    hugging_face_folder(folder, "ViT", transformers.ViTImageProcessor(), **_TINY)
    for name in ("config.json", "preprocessor_config.json"):
        values = json.loads((folder / name).read_text())
        values |= {"auto_map": {"AutoConfig": "code.Config"}, "_attn_implementation": "owner/kernels"}
        (folder / name).write_text(json.dumps(values))
    (folder / "code.py").write_text("raise SystemExit")
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "owner/base"}')
    assert examination.examine(zipped(folder), tmp_path, Wanted()).labels == LABELS


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"input_size": [3, 1800, 1800]}, "1 to 1024 pixels"),
        ({"input_size": [3, 20000, 20000]}, "1 to 1024 pixels"),
        ({"std": [0.0, 0.1, 0.1]}, "0"),
    ],
)
def test_a_config_with_impossible_preprocessing_is_refused(
    tmp_path: Path, values: dict[str, Any], complaint: str
) -> None:
    timm_folder(tmp_path / "m", "resnet10t", values)
    assert complaint in refusal(zipped(tmp_path / "m"), tmp_path)


def test_a_processor_of_huge_pictures_is_refused_before_it_runs(tmp_path: Path) -> None:
    hugging_face_folder(tmp_path / "m", "ViT", transformers.ViTImageProcessor(size=16_000), **_TINY)
    assert "1 to 2048 pixels, not 16000" in refusal(zipped(tmp_path / "m"), tmp_path)


def test_a_config_of_more_layers_than_tensors_is_refused_before_they_are_built(tmp_path: Path) -> None:
    hugging_face_folder(tmp_path / "m", "ViT", transformers.ViTImageProcessor(), **_TINY)
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    (tmp_path / "m" / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 10**6}))
    assert "the weights hold 40 tensors only" in refusal(zipped(tmp_path / "m"), tmp_path)

    timm_folder(tmp_path / "t", "resnet10t", {})
    config = json.loads((tmp_path / "t" / "config.json").read_text())
    config["model_args"]["layers"] = [10**6, 1, 1, 1]
    (tmp_path / "t" / "config.json").write_text(json.dumps(config))
    assert "tensors only" in refusal(zipped(tmp_path / "t"), tmp_path)
