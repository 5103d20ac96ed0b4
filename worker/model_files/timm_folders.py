"""Folders as timm saves them: `config.json` with the architecture and its `pretrained_cfg`, and the weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shared.domain.preprocessing import MAX_SIDE
from shared.errors import BadWeights
from worker.model_files import files
from worker.model_files.model_file import ModelFile

_ARGUMENTS = ("global_pool",)
_OURS = ("num_classes", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir")
"""Arguments of `create_model` that are not those of the architecture, or that would fetch something."""

_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
"""Names that timm looks for."""
_SHARES = (0.25, 2)
"""The least and the greatest `crop_pct`, the side of the crop per side of the resized picture."""
_LARGEST = 1e6
"""The largest absolute number of a value; NaN is not within it either."""
_SHOWN = 100
"""Characters of a wrong value that an error shows."""


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

    weights = _find_weights(top)
    architecture = f"{timm.PREFIX}{config['architecture'].partition('.')[0]}"
    pretrained_cfg = {**_object(config, "pretrained_cfg")} or dict(config)
    _check_values(pretrained_cfg)
    arguments = {name: value for name, value in _object(config, "model_args").items() if name not in _OURS}
    arguments |= {name: config[name] for name in _ARGUMENTS if config.get(name)}
    file = files.read_tensors(weights)
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
        problem_type=files.problem_type_of(config),
    )


def _find_weights(top: Path) -> Path:
    """Return the file that timm itself would load, or else the only one."""
    found = files.find_weights(top)
    usual = [path for path in found if path.name in _WEIGHTS]
    if len(usual or found) != 1:
        raise BadWeights(
            f"The folder of a timm model must hold model.safetensors, or one file of weights, not {len(found)}."
        )
    return (usual or found)[0]


def _object(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = config.get(name) or {}
    if not isinstance(value, dict):
        raise BadWeights(f"{name} in config.json must be an object, not {_shown(value)}.")
    return value


def _check_values(pretrained_cfg: Mapping[str, Any]) -> None:
    """Raise BadWeights naming the first value of the preprocessing that timm could not use either."""
    size = pretrained_cfg.get("input_size")
    if size and not (_are_numbers(size, 3) and all(isinstance(n, int) and 1 <= n <= MAX_SIDE for n in size)):
        raise _bad("input_size", size, f"channels, and height and width of 1 to {MAX_SIDE} pixels")
    channels = size[0] if size else 3
    for name in ("mean", "std"):
        value = pretrained_cfg.get(name)
        if value and not (_are_numbers(value, channels) and (name == "mean" or min(value) > 0)):
            raise _bad(name, value, f"a list of {channels} numbers{'' if name == 'mean' else ' above 0'}")
    share = pretrained_cfg.get("crop_pct")
    if share and not (_are_numbers([share], 1) and _SHARES[0] <= share <= _SHARES[1]):
        raise _bad("crop_pct", share, f"a number from {_SHARES[0]} to {_SHARES[1]}")


def _are_numbers(value: Any, count: int) -> bool:
    return (
        isinstance(value, list)
        and len(value) == count
        and all(isinstance(n, (int, float)) and not isinstance(n, bool) and abs(n) <= _LARGEST for n in value)
    )


def _bad(name: str, value: object, wanted: str) -> BadWeights:
    return BadWeights(f"{name} in config.json must be {wanted}, not {_shown(value)}.")


def _shown(value: object) -> str:
    return repr(value)[:_SHOWN]


def _labels(config: Mapping[str, Any], pretrained_cfg: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the labels, by `labels` as well, as timm called `label_names` before."""
    named = [each.get(key) for key in ("label_names", "labels") for each in (config, pretrained_cfg)]
    if values := next((value for value in named if value), None):
        names = files.labels_of(values, "config.json")
        described = config.get("label_descriptions") or pretrained_cfg.get("label_descriptions")
        if not isinstance(described, dict):
            return names
        return files.labels_of([described.get(name, name) for name in names], "config.json")
    if config.get("id2label"):
        labels = files.labels_of(config["id2label"], "config.json")
        return labels if len(labels) == config.get("num_classes", len(labels)) else ()
    return ()
