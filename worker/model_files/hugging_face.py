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
    from worker.families import transformers

    loaded = transformers.load_folder(top, config)
    return ModelFile(
        sets={"": loaded.state},
        normalised=True,
        family="transformers",
        architecture=loaded.architecture,
        config=loaded.config,
        labels=files.labels_of(config["id2label"], "config.json") if config.get("id2label") else (),
        preprocessing=loaded.preprocessing,
        origin="preprocessor_config.json" if loaded.preprocessing else "",
        problem_type=_problem_type(config),
    )


def _problem_type(config: Mapping[str, Any]) -> str:
    kind = config.get("problem_type") or ""
    if kind == "regression":
        raise BadWeights("The problem_type of the model is regression: it answers with numbers, not with labels.")
    return str(kind)
