"""Model files are what people import: weights, and what lies beside them. Each module here reads one kind of file.

    file ──first bytes──> tensors      safetensors, PyTorch: tensors by name, in one set or several
                          folders      a zip of a folder: timm, transformers, an export of inferq, TorchServe's archive
                          onnx_graphs  a whole network
                          refused      everything else: an error with the command that converts it

No code in a file is ever run, and nothing is fetched.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

from shared.errors import BadWeights
from worker.model_files import files, folders, onnx_graphs, refused, tensors
from worker.model_files.model_file import ModelFile


def read(path: Path, folder: Path) -> ModelFile:
    """Read a file by its bytes, never by its name; `folder` is empty, for what has to be unpacked.

    Raises BadWeights with what to do instead, or the kinds of BadOption.
    """
    with path.open("rb") as file:
        head = file.read(64)
    if len(head) < 9:
        raise BadWeights("The weights file is empty or cut off.")
    if head[8:9] == b"{":
        return ModelFile(sets={"": tensors.read_safetensors(path)})
    refused.check_head(head)
    if zipfile.is_zipfile(path) and head.startswith(b"PK"):
        names = files.list_names(path)
        refused.check_names(names)
        return tensors.read_checkpoint(path) if tensors.is_checkpoint(names) else folders.read_zip(path, folder)
    if onnx_graphs.is_onnx(head):
        return onnx_graphs.read(path)
    return tensors.read_checkpoint(path)
