"""Folders as transformers saves them: `config.json`, `preprocessor_config.json` and `model.safetensors`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shared.errors import BadWeights
from worker.model_files import files
from worker.model_files.model_file import ModelFile

_CONVERT = (
    'python -c "from transformers import AutoModelForImageClassification as M; '
    "M.from_pretrained('FOLDER').save_pretrained('FOLDER')\""
)


def read(top: Path, config: Mapping[str, Any]) -> ModelFile:
    """Return weights, config, labels, problem type and preprocessing; raises BadWeights, BadOption.

    Only local files, only safetensors, only the classes of transformers itself.
    """
    if "model_type" not in config:
        raise BadWeights("config.json names neither a model_type of transformers nor an architecture of timm.")
    if not list(top.glob("*.safetensors")):
        raise BadWeights(
            f"The folder holds no model.safetensors; pickled weights are not read. Convert them: {_CONVERT}"
        )
    problem_type = files.problem_type_of(config)
    labels = files.labels_of(config["id2label"], "config.json") if config.get("id2label") else ()
    from worker.families import transformers

    loaded = transformers.load_folder(top, _checked(config))
    return ModelFile(
        sets={"": loaded.state},
        normalised=True,
        family="transformers",
        architecture=loaded.architecture,
        config=loaded.config,
        labels=labels,
        preprocessing=loaded.preprocessing,
        origin="preprocessor_config.json" if loaded.preprocessing else "",
        problem_type=problem_type,
    )


def _checked(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config with its architectures as a list of names; raises BadWeights if they are none."""
    named = config.get("architectures") or []
    names = [named] if isinstance(named, str) else named
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise BadWeights("The architectures in config.json must be a list of names of classes.")
    return {**config, "architectures": names}
