"""The zip of a model's folder that the client sends: what an import reads, and no more."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from inferq.client.imports import opened
from inferq.errors import InferqError


def packed(folder: Path, *names: str) -> list[str]:
    """Return the names in the zip of a folder that has files of these names."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    with opened(folder) as file, zipfile.ZipFile(file) as archive:
        return archive.namelist()


def test_the_checkpoints_of_a_training_stay_at_home(tmp_path: Path) -> None:
    names = ("config.json", "model.safetensors", "preprocessor_config.json")
    others = [f"checkpoint-{n}/{name}" for n in (500, 1000) for name in names]
    assert packed(tmp_path, *names, *others, "runs/events.json", "onnx/model.safetensors", "optimizer.pt") == [*names]


def test_a_folder_with_checkpoints_alone_has_no_model(tmp_path: Path) -> None:
    with pytest.raises(InferqError, match="has no files"):
        packed(tmp_path, "checkpoint-500/config.json", "checkpoint-500/model.safetensors")


def test_all_parts_of_the_weights_are_packed(tmp_path: Path) -> None:
    names = ("config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    assert packed(tmp_path, *names, "pytorch_model.bin") == [*names]


def test_a_model_in_the_only_folder_is_found(tmp_path: Path) -> None:
    assert packed(tmp_path, "birds/config.json", "birds/model.safetensors", "birds/old/model.safetensors", ".hidden") \
        == ["birds/config.json", "birds/model.safetensors"]  # fmt: skip


def test_folders_that_a_format_needs_are_packed(tmp_path: Path) -> None:
    assert packed(tmp_path, "MAR-INF/MANIFEST.json", "model.pth") == ["MAR-INF/MANIFEST.json", "model.pth"]


def test_a_model_that_the_server_refuses_is_recognised_by_its_file(tmp_path: Path) -> None:
    assert packed(tmp_path, "saved_model.pb", "variables/variables.index") == ["saved_model.pb"]
