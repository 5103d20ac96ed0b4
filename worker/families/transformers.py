"""All networks for image classification of the library transformers; they come in as folders only, never by name.

Nothing is ever fetched from a model hub, no code beside the library's own is run, and pickled weights are not read. An
architecture is the name of its class, `ViTForImageClassification`; the values of its `config.json` are the config.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from PIL import Image
from torch import nn

from shared.domain.preprocessing import Preprocessing, Size, as_size, check_values
from shared.errors import BadOption, BadWeights
from worker import families, preprocess
from worker.families import NO_CONFIG, Config, Pretrained, Weights

HOLLOW = False
FORMAT = "safetensors"
_INSTALL = "Models of transformers need that library: pip install 'inferq[transformers]', then start the workers again."
_LABELS = ("id2label", "label2id")
"""What is stored as labels of the version, not in its config."""
_FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
"""Pillow's numbers of filters, which `resample` holds."""
_CONFIG, _PROCESSOR, _WEIGHTS = "config.json", "preprocessor_config.json", ("model.safetensors", "model-")
_CODE = ("auto_map", "_attn_implementation", "attn_implementation", "_attn_implementation_internal", "custom_pipelines",
         "quantization_config", "_name_or_path", "adapter_config")  # fmt: skip
"""Values of a config by which transformers looks for code, kernels or other files."""
_SHAPES = ((640, 427), (333, 500), (61, 47), (255, 256))
"""Width and height of the pictures by which a translated preprocessing is compared with the processor's."""
_EQUAL = 1e-4
"""Allowed difference from the processor, of normalised values."""
_WARPED = 384
"""From this side on, ConvNeXT's processor distorts the picture instead of cutting its sides off."""


class Classifier(nn.Module):
    """A network of transformers that takes pixels and returns logits, as those of the other families do."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return logits (N, classes) of pixels (N, channels, height, width)."""
        logits: torch.Tensor = self.model(pixel_values=pixels).logits
        return logits


def architectures() -> list[str]:
    """Return no names: what an architecture builds is in its config, which comes with the weights."""
    return []


def build(architecture: str, classes: int, crop: Size, config: Config = NO_CONFIG) -> nn.Module:
    """Build the network of a config with `classes` outputs; raises BadOption if transformers lacks it."""
    library = _library()
    values = {name: value for name, value in config.items() if name not in _LABELS}
    try:
        kind = library.CONFIG_MAPPING[str(config["model_type"])]
        return Classifier(_class(architecture)(kind.from_dict({**values, "num_labels": classes})))
    except (KeyError, AttributeError, ValueError, TypeError) as error:
        raise BadOption(f"transformers {library.__version__} cannot build {architecture}: {error}") from error


def preprocessing(architecture: str) -> Preprocessing:
    """Refuse: the preprocessing lies beside the weights, or is given by the import."""
    raise BadOption(
        "The folder has no preprocessor_config.json, which says how to prepare pictures. Give `preprocessing`, "
        "or `resize`, `crop`, `mean` and `std`."
    )


def presets(architecture: str) -> dict[str, Preprocessing]:
    """Return no presets."""
    return {}


def pretrained(architecture: str) -> Pretrained | None:
    """Return None: published weights are on a model hub, which is never contacted."""
    return None


def identify(sha256: str) -> Pretrained | None:
    """Return None: a folder says what it is."""
    return None


def adapt(architecture: str, state: Weights) -> Weights:
    """Return the state unchanged: transformers itself has renamed old names when the folder was read."""
    return state


@dataclass(frozen=True)
class LoadedFolder:
    """The contents of a folder that transformers has read."""

    architecture: str
    config: dict[str, Any]
    state: Weights
    preprocessing: Preprocessing | None


def load_folder(folder: Path, config: Mapping[str, Any]) -> LoadedFolder:
    """Read a folder of local files; raises BadWeights if weights are missing, left over or of another shape."""
    library = _library()
    architecture = _choose(config)
    config = _keep_only_data(folder, config)
    weighed = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    families.check_depth(config, sum(_count_tensors(path) for path in folder.glob("*.safetensors")))
    labels = len(config.get("id2label") or ()) or 1000
    families.check_size(lambda: build(architecture, labels, 0, config), weighed)
    with _quiet(library):
        try:
            model, report = _class(architecture).from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, use_safetensors=True, output_loading_info=True,
                dtype=torch.float32, ignore_mismatched_sizes=True,
            )  # fmt: skip
        except Exception as error:  # the library raises nearly everything on a config that it cannot use
            raise BadWeights(f"transformers cannot load the folder: {_first_line(error)}") from error
    _check_complete(report)
    values = json.loads(model.config.to_json_string(use_diff=False))
    for name in (*_LABELS, "_name_or_path", "transformers_version", "dtype"):
        values.pop(name, None)
    return LoadedFolder(architecture, values, Classifier(model).state_dict(), _read_preprocessing(folder))


def _keep_only_data(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Leave only config, processor and weights in the folder, without values that name code or other files.

    transformers would follow an index of weights to any file of the machine, adapters to a model hub, and names of
    attention implementations to downloaded kernels. Returns the config that is left.
    """
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in (_CONFIG, _PROCESSOR) and not path.name.startswith(_WEIGHTS):
            path.unlink()
    for index in folder.glob("*.index.json"):
        shards = json.loads(index.read_text()).get("weight_map", {}).values()
        if not all(isinstance(name, str) and name == Path(name).name and (folder / name).is_file() for name in shards):
            raise BadWeights(f"{index.name} names files of weights that are not in the folder.")
    left = {name: value for name, value in config.items() if name not in _CODE}
    (folder / _CONFIG).write_text(json.dumps(left))
    if (folder / _PROCESSOR).is_file():
        processor = json.loads((folder / _PROCESSOR).read_text("utf-8-sig"))
        (folder / _PROCESSOR).write_text(json.dumps({name: processor[name] for name in processor if name not in _CODE}))
    return left


def _choose(config: Mapping[str, Any]) -> str:
    """Return the class for image classification of a config; raises BadWeights for any other model."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES as NAMES

    kind = str(config.get("model_type"))
    listed = NAMES.get(kind)
    allowed = (listed,) if isinstance(listed, str) else tuple(listed or ())
    if not allowed or kind in ("timm_wrapper", "shieldgemma2", "imagegpt"):
        raise BadWeights(
            f"The model_type {kind!r} is no image classifier that can be taken; there are: {', '.join(sorted(NAMES))}."
        )
    named = [name for name in config.get("architectures") or () if name in allowed]
    if config.get("architectures") and not named:
        raise BadWeights(
            f"The weights are those of {config['architectures'][0]}, which has no classifier; fine-tune it first, and "
            f"save it as {allowed[0]}."
        )
    return named[0] if named else allowed[0]


def _count_tensors(path: Path) -> int:
    try:
        with safetensors.safe_open(path, "pt") as file:
            return len(file.keys())
    except Exception as error:  # SafetensorError, or OSError
        raise BadWeights(f"{path.name} cannot be read: {_first_line(error)}") from error


def _check_complete(report: Mapping[str, Any]) -> None:
    faults = {
        "missing": report.get("missing_keys"),
        "not part of the network": report.get("unexpected_keys"),
        "of another shape": report.get("mismatched_keys"),
    }
    found = [
        f"{len(names)} {fault} ({', '.join(map(str, list(names)[:3]))})" for fault, names in faults.items() if names
    ]
    if found:
        raise BadWeights(f"model.safetensors does not fit config.json; of its tensors are {'; '.join(found)}.")


def _read_preprocessing(folder: Path) -> Preprocessing | None:
    """Return the translated preprocessing, compared with that of the processor; None without the file.

    Raises BadWeights if the processor does anything that a Preprocessing cannot express.
    """
    if not (folder / "preprocessor_config.json").is_file():
        return None
    library = _library()
    with _quiet(library):
        try:
            processor = library.AutoImageProcessor.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, backend="torchvision"
            )
        except Exception as error:
            raise BadWeights(f"transformers cannot load preprocessor_config.json: {_first_line(error)}") from error
    try:
        translated = translate(processor)
        check_values(translated)
        difference = max(_difference(processor, translated, shape) for shape in _SHAPES)
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        raise BadWeights(_cannot_prepare(processor, _first_line(error))) from error
    if difference > _EQUAL:
        raise BadWeights(_cannot_prepare(processor, f"the result differs by {difference:.2g}"))
    return translated


def _cannot_prepare(processor: Any, reason: str) -> str:
    return (
        f"Pictures cannot be prepared as {type(processor).__name__} with these values does it ({reason}). Remove "
        "preprocessor_config.json from the folder, and give `preprocessing` yourself, or export the model to ONNX."
    )


def translate(processor: Any) -> Preprocessing:
    """Return the values of an image processor as a Preprocessing; raises ValueError and others if it has no such
    values.

    Source: transformers' `image_processing_backends.py`, and the files of the processors that are named here.
    """
    kind = type(processor).__name__.removesuffix("Pil").removesuffix("ImageProcessor")
    resize, crop, crop_mode = _SIZES.get(kind, _plain_size)(processor)
    scale = processor.rescale_factor if processor.do_rescale else 1.0
    channels = 3
    mean = _numbers(processor.image_mean, channels) if processor.do_normalize else (0.0,) * channels
    std = _numbers(processor.image_std, channels) if processor.do_normalize else (1.0,) * channels
    if getattr(processor, "rescale_offset", False):
        mean = tuple(value + 1 for value in mean)
    if getattr(processor, "include_top", False):  # EfficientNet's networks divide by the deviation a second time
        std = tuple(first * second for first, second in zip(std, _numbers(processor.image_std, channels), strict=True))
    return Preprocessing(
        resize=resize,
        crop=crop,
        mean=mean,
        std=std,
        interpolation=_FILTERS[int(processor.resample)],
        crop_mode=crop_mode,
        channel_order="BGR" if getattr(processor, "do_flip_channel_order", False) else "RGB",
        scale=scale,
        crop_offset="floor",
    )


def _numbers(values: Any, channels: int) -> tuple[float, ...]:
    return tuple(map(float, values)) if isinstance(values, (list, tuple)) else (float(values),) * channels


def _plain_size(processor: Any) -> tuple[Size, Size, str]:
    """Return (resize, crop, crop mode) of most processors: resize, then cut out the centre if that is asked for."""
    if not processor.do_resize:
        raise ValueError("do_resize is false, so pictures keep their size")
    size = processor.size
    crops = bool(processor.do_center_crop)
    if size.height and size.width:
        resize = as_size(size.height, size.width)
        return resize, _crop_size(processor) if crops else resize, "squash"
    if not size.shortest_edge or size.longest_edge or not crops:
        raise ValueError(f"with the size {dict(size)} pictures have different sizes")
    return size.shortest_edge, _crop_size(processor), "center"


def _crop_size(processor: Any) -> Size:
    return as_size(processor.crop_size.height, processor.crop_size.width)


def _convnext_size(processor: Any) -> tuple[Size, Size, str]:
    side = processor.size.shortest_edge
    if side >= _WARPED:
        return side, side, "squash"
    return int(side / processor.crop_pct), side, "center"


def _poolformer_size(processor: Any) -> tuple[Size, Size, str]:
    if processor.crop_pct is None:
        return _plain_size(processor)
    side = processor.size.shortest_edge or processor.size.height
    return int(side / processor.crop_pct), _crop_size(processor), "center"


def _levit_size(processor: Any) -> tuple[Size, Size, str]:
    if not processor.size.shortest_edge:
        return _plain_size(processor)
    return int((256 / 224) * processor.size.shortest_edge), _crop_size(processor), "center"


_SIZES: dict[str, Callable[[Any], tuple[Size, Size, str]]] = {
    "ConvNext": _convnext_size,
    "PoolFormer": _poolformer_size,
    "Levit": _levit_size,
}
"""Processors that compute the size in a way of their own."""


def _difference(processor: Any, translated: Preprocessing, shape: tuple[int, int]) -> float:
    """Return the largest difference of a random picture that is prepared by both."""
    pixels = np.random.default_rng(shape[0]).integers(0, 256, (shape[1], shape[0], 3), np.uint8)
    picture = Image.fromarray(pixels)
    theirs = torch.from_numpy(np.stack(processor(picture, return_tensors="np")["pixel_values"])).float()
    ours = preprocess.normalise(preprocess.stack([preprocess.crop(picture, translated)]), translated)
    if theirs.shape != ours.shape:
        raise ValueError(f"the result has the shape {tuple(theirs.shape[1:])}")
    return (theirs - ours).abs().max().item()


def _class(architecture: str) -> Any:
    library = _library()
    if not architecture.isidentifier() or "ForImageClassification" not in architecture:
        raise BadOption(f"{architecture!r} is no class for image classification.")
    return getattr(library, architecture)


def _library() -> Any:
    try:
        import transformers
    except ImportError:
        raise BadWeights(_INSTALL) from None
    return transformers


@contextlib.contextmanager
def _quiet(library: Any) -> Iterator[None]:
    """Keep the library's reports about missing weights out of the log: they become errors."""
    level = library.logging.get_verbosity()
    library.logging.set_verbosity(library.logging.CRITICAL)
    library.logging.disable_progress_bar()
    try:
        yield
    finally:
        library.logging.set_verbosity(level)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
