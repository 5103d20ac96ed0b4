"""Archives of TorchServe, `.mar`: a state dict with `index_to_name.json`; their Python code is never run."""

from __future__ import annotations

from pathlib import Path

from shared.domain.preprocessing import Preprocessing
from shared.errors import BadWeights
from worker.model_files import files, refused
from worker.model_files.model_file import ModelFile

_IMAGE_CLASSIFIER = Preprocessing(
    resize=256, crop=224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), interpolation="bilinear"
)
"""What TorchServe's handler `image_classifier` does to a picture."""


def read(top: Path) -> ModelFile:
    """Return the weights and what TorchServe knows about them; raises BadWeights.

    The architecture is code in a `.mar`, so the import names it. Labels are the last text of each entry of
    `index_to_name.json`, which holds `tench` or `["n01440764", "tench"]`.
    """
    described = files.read_json(top / "MAR-INF" / "MANIFEST.json").get("model")
    if not isinstance(described, dict):
        raise BadWeights("MANIFEST.json must describe a model in an object.")
    name = str(described.get("serializedFile") or "")
    path = top / Path(name).name
    if not name or not path.is_file():
        raise BadWeights(
            "The .mar names no file of weights (serializedFile), so its model is code. Import the weights."
        )
    with path.open("rb") as file:
        refused.check_head(file.read(64))
    if path.suffix == ".onnx":
        raise BadWeights(f"The .mar holds {name}: unpack it (unzip FILE.mar), and import that file.")
    if path.suffix != ".safetensors":
        refused.check_names(files.list_names(path) if _is_zip(path) else [])
    handler = str(described.get("handler") or "")
    known = handler.removesuffix(".py") == "image_classifier"
    labels = top / "index_to_name.json"
    return ModelFile(
        sets=files.read_tensors(path).sets,
        labels=_labels(labels) if labels.is_file() else (),
        preprocessing=_IMAGE_CLASSIFIER if known else None,
        origin="handler image_classifier" if known else "",
    )


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"PK"


def _labels(path: Path) -> tuple[str, ...]:
    entries = files.read_json(path)
    last = {index: value[-1] if isinstance(value, list) and value else value for index, value in entries.items()}
    return files.labels_of(last, path.name)
