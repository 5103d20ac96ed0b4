"""Folders as timm saves them: `config.json` with the architecture and its `pretrained_cfg`, and the weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shared.errors import BadWeights
from worker.model_files import files
from worker.model_files.model_file import ModelFile

_ARGUMENTS = ("global_pool",)
_OURS = ("num_classes", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir")
"""Arguments of `create_model` that are not those of the architecture, or that would fetch something."""


def is_timm(config: Mapping[str, Any]) -> bool:
    """Return True for a config.json of timm, also in the wrapper of transformers."""
    return isinstance(config.get("architecture"), str) and (
        "pretrained_cfg" in config or config.get("model_type") in (None, "timm_wrapper")
    )


def read(top: Path, config: Mapping[str, Any]) -> ModelFile:
    """Return weights, architecture, labels and preprocessing; raises BadWeights, BadOption.

    Source: `timm.models.save_for_hf` and `load_model_config_from_hf`.
    """
    from worker.families import timm

    found = files.find_weights(top)
    if len(found) != 1:
        raise BadWeights(f"The folder of a timm model must hold one file of weights, not {len(found)}.")
    architecture = f"{timm.PREFIX}{config['architecture'].partition('.')[0]}"
    pretrained_cfg = dict(config.get("pretrained_cfg") or config)
    arguments = {name: value for name, value in (config.get("model_args") or {}).items() if name not in _OURS}
    arguments |= {name: config[name] for name in _ARGUMENTS if config.get(name)}
    file = files.read_tensors(found[0])
    state = next(iter(file.sets.values()))
    if len(file.sets) == 1 and all(name.startswith("timm_model.") for name in state):  # transformers' TimmWrapper
        file = ModelFile(sets={"": {name.removeprefix("timm_model."): tensor for name, tensor in state.items()}})
    return ModelFile(
        sets=file.sets,
        family="timm",
        architecture=architecture,
        config={"model_args": arguments} if arguments else {},
        labels=_labels(config, pretrained_cfg),
        preprocessing=timm.prepared_by(architecture, pretrained_cfg),
        origin="config.json",
        problem_type=str(config.get("problem_type") or ""),
    )


def _labels(config: Mapping[str, Any], pretrained_cfg: Mapping[str, Any]) -> tuple[str, ...]:
    names = config.get("label_names") or pretrained_cfg.get("label_names")
    if names:
        described = config.get("label_descriptions") or pretrained_cfg.get("label_descriptions") or {}
        return tuple(str(described.get(name, name)) if isinstance(described, dict) else str(name) for name in names)
    if config.get("id2label") and len(config["id2label"]) == config.get("num_classes", len(config["id2label"])):
        return files.labels_of(config["id2label"], "config.json")
    return ()
