"""What lies beside the weights of a folder: taken by rule, or refused with the name of the file and the value."""

from __future__ import annotations

import errno
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import transformers
from safetensors.torch import save

from shared.domain.models import ImportOptions
from shared.domain.preprocessing import Origin, parse_request
from shared.domain.scores import logits_of
from shared.errors import BadOption, BadWeights, StorageFull
from tests.unit import graphs
from worker import examination, model_files
from worker.examination import Check, Examined, Wanted
from worker.model_files import files

pytestmark = pytest.mark.slow

LABELS = ("ant", "bee", "cat")
CFG = {
    "input_size": [3, 64, 64], "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "interpolation": "bilinear",
    "crop_pct": 0.5, "crop_mode": "squash",
}  # fmt: skip


@pytest.fixture(scope="module")
def timm_files() -> dict[str, Any]:
    """The files of a small model of timm."""
    torch.manual_seed(0)
    network = timm.create_model("resnet10t", num_classes=3)
    config = {"architecture": "resnet10t", "num_classes": 3, "label_names": list(LABELS), "pretrained_cfg": CFG}
    return {"config.json": config, "model.safetensors": save(network.state_dict())}


@pytest.fixture(scope="module")
def hugging_face_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The files of a small model of transformers."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("vit")
    config: Any = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, image_size=32, patch_size=8,
        id2label=dict(enumerate(LABELS)), label2id={label: n for n, label in enumerate(LABELS)},
    )  # fmt: skip
    transformers.ViTForImageClassification(config).save_pretrained(folder)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    texts = {name: json.loads((folder / name).read_text()) for name in ("config.json", "preprocessor_config.json")}
    return {**texts, "model.safetensors": (folder / "model.safetensors").read_bytes()}


def zipped(folder: Path, contents: Mapping[str, Any]) -> Path:
    with zipfile.ZipFile(folder / "m.zip", "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content if isinstance(content, (bytes, str)) else json.dumps(content))
    return folder / "m.zip"


def examine(folder: Path, contents: Mapping[str, Any], **wanted: Any) -> Examined:
    return examination.examine(zipped(folder, contents), folder, Wanted(**wanted))


def refusal(folder: Path, contents: Mapping[str, Any], **wanted: Any) -> str:
    with pytest.raises((BadWeights, BadOption)) as caught:
        examine(folder, contents, **wanted)
    message = caught.value.message
    assert message.endswith("."), message
    return message


def with_config(contents: Mapping[str, Any], **values: Any) -> dict[str, Any]:
    return {**contents, "config.json": {**contents["config.json"], **values}}


# labels

BAD_LABELS = [
    (["a", "b", ""], "entry 3: the label is empty"),
    (["a", "b\0", "c"], "entry 2: the label contains the unprintable character U+0000"),
    (["a", "b", "x" * 100_000], "entry 3: the label has more than 300 characters"),
    ([None, "b", "c"], "must be texts, but entry 1 is null"),
    (["a", {"a": 1}, "c"], "must be texts, but entry 2 is an object"),
]


@pytest.mark.parametrize(("values", "complaint"), BAD_LABELS)
def test_labels_beside_the_weights_obey_the_rules_of_all_labels(
    tmp_path: Path,
    timm_files: dict[str, Any],
    hugging_face_files: dict[str, Any],
    values: list[Any],
    complaint: str,
) -> None:
    id2label = {str(number): label for number, label in enumerate(values)}
    for contents in (with_config(timm_files, label_names=values), with_config(hugging_face_files, id2label=id2label)):
        message = refusal(tmp_path, contents)
        assert complaint in message
        assert "config.json" in message
    manifest = {"model": {"serializedFile": "w.safetensors"}}
    mar = {
        "MAR-INF/MANIFEST.json": manifest,
        "index_to_name.json": id2label,
        "w.safetensors": save({"a": torch.ones(1)}),
    }
    message = refusal(tmp_path, mar, architecture="resnet18")
    assert complaint in message
    assert "index_to_name.json" in message


def test_labels_in_the_metadata_of_a_graph_obey_the_rules_too(tmp_path: Path) -> None:
    names = repr({0: "a", 1: "b\0", 2: "c", 3: "d"})
    model = graphs.make(metadata={"task": "classify", "imgsz": "[32, 32]", "names": names})
    with pytest.raises(BadWeights, match=r"metadata of Ultralytics, entry 2: .* U\+0000"):
        model_files.read(graphs.save(model, tmp_path), tmp_path)


def test_labels_beside_the_weights_may_repeat() -> None:
    assert files.labels_of({"0": "crane", "1": "crane"}, "config.json") == ("crane", "crane")


def test_a_label_file_in_the_folder_is_refused_with_its_line(tmp_path: Path, timm_files: dict[str, Any]) -> None:
    contents = {"labels.txt": "a\n\nb\n", "model.safetensors": timm_files["model.safetensors"]}
    assert "labels.txt, line 2: the label is empty" in refusal(tmp_path, contents, architecture="timm/resnet10t")


def test_labels_by_their_old_name_are_read(tmp_path: Path, timm_files: dict[str, Any]) -> None:
    flat = {"architecture": "resnet10t", "num_classes": 3, "labels": list(LABELS), **CFG}
    nested = with_config(timm_files, label_names=None, pretrained_cfg=CFG | {"labels": list(LABELS)})
    for contents in ({**timm_files, "config.json": flat}, nested):
        assert examine(tmp_path, contents).labels == LABELS


def test_a_folder_without_labels_asks_for_them(tmp_path: Path, timm_files: dict[str, Any]) -> None:
    message = refusal(tmp_path, with_config(timm_files, label_names=None))
    assert message.startswith("The weights have 3 outputs, and no labels lie beside them. Give a labels file with 3")


# values of a config


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("crop_pct", "0.9", "crop_pct in config.json must be a number"),
        ("crop_pct", 1e-6, "crop_pct in config.json must be a number"),
        ("input_size", [224, 224], "input_size in config.json must be channels, and height and width of 1 to"),
        ("input_size", [3, 20_000, 20_000], "input_size in config.json must be"),
        ("mean", 0.5, "mean in config.json must be a list of 3 numbers, not 0.5"),
        ("mean", "0.5", "mean in config.json must be a list of 3 numbers"),
        ("std", [0.5, 0.0, 0.5], "std in config.json must be a list of 3 numbers above 0"),
        ("std", [0.5, "x", 0.5], "std in config.json must be a list of 3 numbers above 0"),
        ("std", [0.5, float("nan"), 0.5], "std in config.json must be a list of 3 numbers above 0"),
    ],
)
def test_a_wrong_value_of_timms_preprocessing_is_named(
    tmp_path: Path, timm_files: dict[str, Any], name: str, value: Any, complaint: str
) -> None:
    assert complaint in refusal(tmp_path, with_config(timm_files, pretrained_cfg=CFG | {name: value}))


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"model_args": {"nonsense": 1}}, "timm cannot build resnet10t with model_args {'nonsense': 1}: TypeError: "),
        ({"model_args": {"block": "x"}}, "timm cannot build resnet10t with model_args {'block': 'x'}: "),
        ({"model_args": {"in_chans": -1}}, "timm cannot build resnet10t with model_args {'in_chans': -1}: "),
        ({"model_args": ["x"]}, "model_args in config.json must be an object, not ['x']."),
        ({"pretrained_cfg": "x"}, "pretrained_cfg in config.json must be an object, not 'x'."),
        ({"problem_type": "foo"}, "must be single_label_classification or multi_label_classification, not 'foo'."),
        ({"problem_type": "regression"}, "it answers with numbers, not with labels."),
        ({"label_names": 3}, "The labels in config.json must be a list"),
    ],
)
def test_a_wrong_value_of_timms_config_is_named(
    tmp_path: Path, timm_files: dict[str, Any], values: dict[str, Any], complaint: str
) -> None:
    assert complaint in refusal(tmp_path, with_config(timm_files, **values))


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"problem_type": "foo"}, "must be single_label_classification or multi_label_classification, not 'foo'."),
        ({"architectures": [None]}, "architectures in config.json must be a list of names"),
    ],
)
def test_a_wrong_value_of_a_config_of_transformers_is_named(
    tmp_path: Path, hugging_face_files: dict[str, Any], values: dict[str, Any], complaint: str
) -> None:
    assert complaint in refusal(tmp_path, with_config(hugging_face_files, **values))


def test_an_architecture_need_not_be_in_a_list(tmp_path: Path, hugging_face_files: dict[str, Any]) -> None:
    contents = with_config(hugging_face_files, architectures="ViTForImageClassification")
    assert examine(tmp_path, contents).architecture == "ViTForImageClassification"


# zips


def test_members_may_begin_with_a_dot_and_a_slash(tmp_path: Path, timm_files: dict[str, Any]) -> None:
    contents = {f"./{name}": content for name, content in timm_files.items()} | {"./.git/config.json": "x"}
    assert examine(tmp_path, contents).labels == LABELS


@pytest.mark.parametrize("name", ["x" * 300, "config.json/x"])
def test_a_name_that_cannot_be_written_is_refused(tmp_path: Path, timm_files: dict[str, Any], name: str) -> None:
    message = refusal(tmp_path, {**timm_files, name: "x"})
    assert "cannot be written" in message
    assert str(tmp_path) not in message


def test_a_full_disk_is_no_fault_of_the_zip(
    tmp_path: Path, timm_files: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "extract", full)
    with pytest.raises(StorageFull, match="no room to unpack"):
        examine(tmp_path, timm_files)


def test_of_two_files_of_weights_timms_own_name_is_taken(tmp_path: Path, timm_files: dict[str, Any]) -> None:
    assert examine(tmp_path, {**timm_files, "ema.safetensors": save({"a": torch.ones(1)})}).labels == LABELS
    two = {name: content for name, content in timm_files.items() if name == "config.json"}
    two |= {f"{name}.safetensors": timm_files["model.safetensors"] for name in "ab"}
    assert "must hold model.safetensors, or one file of weights, not 2" in refusal(tmp_path, two)


# what the import says beside the file


def test_values_of_an_import_replace_single_values_beside_the_weights(
    tmp_path: Path, timm_files: dict[str, Any]
) -> None:
    request = parse_request(None, {"resize": 80, "crop": 64, "mean": 0.5, "std": 0.5})
    examined = examine(tmp_path, timm_files, preprocessing=request)
    assert (examined.preprocessing.crop_mode, examined.preprocessing.interpolation) == ("squash", "bilinear")
    assert (examined.preprocessing.resize, examined.preprocessing.mean) == (80, (0.5, 0.5, 0.5))
    assert examined.preset
    assert (examined.preset.origin, set(examined.preset.changed)) == (
        Origin.INCLUDED,
        {"resize", "crop", "mean", "std"},
    )


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (ImportOptions(thresholds=(0.5,)), "A threshold is for multi_label_classification; give problem_type as well."),
        (ImportOptions(problem_type="multi_label_classification", thresholds=(0.5, 0.5)), "Give one threshold, or one"),
        (ImportOptions(problem_type="foo"), "The problem_type must be single_label_classification or multi_label_"),
    ],
)
def test_what_an_import_cannot_mean_is_said_in_a_sentence(
    tmp_path: Path, timm_files: dict[str, Any], options: ImportOptions, complaint: str
) -> None:
    assert refusal(tmp_path, timm_files, options=options).startswith(complaint)


def test_a_check_uses_the_threshold_as_an_answer_does(tmp_path: Path, timm_files: dict[str, Any]) -> None:
    """Where the logit of a score is rounded above the logit, no worker answers with that label, nor may the check."""
    scored = ((n / 16, torch.sigmoid(torch.tensor(n / 16).double()).item()) for n in range(1, 160))
    logit, threshold = next((logit, score) for logit, score in scored if logits_of([score], 1)[0] > logit)
    network: Any = timm.create_model("resnet10t", num_classes=3)
    with torch.no_grad():
        network.fc.weight.zero_()
        network.fc.bias.copy_(torch.tensor([logit, logit + 1, -9.0]))
    contents = {**timm_files, "model.safetensors": save(network.state_dict())}
    options = ImportOptions(problem_type="multi_label_classification", thresholds=(threshold,))
    picture = examination.example()
    assert examine(tmp_path, contents, options=options, checks=[Check("a.png", picture, "bee")]).labels == LABELS
    message = refusal(tmp_path, contents, options=options, checks=[Check("a.png", picture, "ant")])
    assert message.startswith("The check failed: a.png should be 'ant', but the answer is bee 0.")
