"""Files of other frameworks are refused with the command that converts them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from shared.errors import BadWeights
from shared.imaging import formats
from worker.model_files.inert_pickle import StandIn

_TO_ONNX = "Convert it to ONNX, and import that: "
_HDF5 = b"\x89HDF\r\n\x1a\n"
KERAS = (
    "The file is a model of Keras, which can hold code. " + _TO_ONNX + 'python -c "import keras; '
    "keras.models.load_model('FILE').export('model.onnx', format='onnx')\""
)
SAVED_MODEL = (
    "The folder is a SavedModel of TensorFlow. " + _TO_ONNX
    + "python -m tf2onnx.convert --saved-model FOLDER --output model.onnx"
)  # fmt: skip
_TFLITE = (
    "The file is a model of TensorFlow Lite. " + _TO_ONNX
    + "python -m tf2onnx.convert --tflite FILE --output model.onnx"
)  # fmt: skip
_TORCHSCRIPT = (
    "The file is a TorchScript program, which is code. Take its tensors, and import them with their architecture: "
    "python -c \"import torch; torch.save(torch.jit.load('FILE').state_dict(), 'weights.pth')\""
)
_EXPORTED = (
    "The file is a program of torch.export. Take its tensors, and import them with their architecture: "
    "python -c \"import torch; torch.save(dict(torch.export.load('FILE').state_dict), 'weights.pth')\""
)
_ULTRALYTICS = (
    "The file is a pickled model of Ultralytics. " + _TO_ONNX + "yolo export model=FILE format=onnx"
)  # fmt: skip
_FASTAI = (
    "The file is a pickled learner of fastai. Save its tensors and its labels, and import them with the architecture: "
    "torch.save(learn.model.state_dict(), 'weights.pth'), and the lines of learn.dls.vocab"
)
_CORE_ML = (
    "The file is a model of Core ML, which cannot be converted back. Import the model that it was made from."
)  # fmt: skip


_POINTER = (
    "The file is a pointer of Git LFS, a few lines of text in place of the weights. Fetch the file itself: git lfs pull"
)
_PAGE = (
    "The file is an HTML page, not a model: the download was answered with a page, such as a login. Download it again."
)


def check_head(head: bytes) -> None:
    """Raise BadWeights for a file that is recognised by its first bytes and cannot be taken."""
    if head.startswith(b"version https://git-lfs"):
        raise BadWeights(_POINTER)
    if head.lstrip()[:9].lower().startswith((b"<!doctype", b"<html")):
        raise BadWeights(_PAGE)
    if kind := formats.recognise(head):
        raise BadWeights(f"The file is a {kind} picture, not a model.")
    if head.startswith(_HDF5):
        raise BadWeights(KERAS)
    if head[4:8] == b"TFL3":
        raise BadWeights(_TFLITE)


def check_names(names: Collection[str]) -> None:
    """Raise BadWeights for a zip that is recognised by its members and cannot be taken."""
    ends = {name.rpartition("/")[2] for name in names}
    if "constants.pkl" in ends and any("/code/" in f"/{name}" for name in names):
        raise BadWeights(_TORCHSCRIPT)
    if "serialized_exported_program.json" in ends or any(name.endswith("models/model.json") for name in names):
        raise BadWeights(_EXPORTED)
    if "model.weights.h5" in ends or "keras_metadata.pb" in ends:
        raise BadWeights(KERAS)
    if "saved_model.pb" in ends:
        raise BadWeights(SAVED_MODEL)
    if any(name.endswith(".mlmodel") for name in ends):
        raise BadWeights(_CORE_ML)


def check_objects(content: Any) -> None:
    """Raise BadWeights if a PyTorch file holds a whole network as an object, instead of its tensors."""
    inner = content.get("model") if isinstance(content, Mapping) else content
    whole = next((each for each in (content, inner) if isinstance(each, StandIn)), None)
    ema = content.get("ema") if isinstance(content, Mapping) else None
    names = [each.name for each in (whole, ema) if isinstance(each, StandIn)]
    if any(name.startswith(("ultralytics.", "models.yolo")) for name in names):
        raise BadWeights(_ULTRALYTICS)
    if any(name.startswith("fastai.") for name in names):
        raise BadWeights(_FASTAI)
    if whole is not None:
        raise BadWeights(
            f"The file holds a whole pickled model ({whole.name}), which is code. Save the tensors alone, and import "
            "them with their architecture: torch.save(model.state_dict(), FILE)"
        )
