"""fastai's `fine_tune` as a program of its environment: `python -m … FOLDER` reads request.json and writes answer.json.

As in fastai's documentation of pets: pictures of a size are squeezed to 256 pixels, batches are cut to the size of the
network and varied, and one epoch of the head is followed by EPOCHS of the whole network.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import safetensors.torch
import torch
from fastai.vision.all import (
    CategoryBlock,
    ColReader,
    DataBlock,
    ImageBlock,
    IndexSplitter,
    Normalize,
    Resize,
    aug_transforms,
    set_seed,
    vision_learner,
)

EPOCHS = 5
_BATCH = 16
"""fastai's 64 would be three steps in an epoch of a small task."""


def main(folder: Path) -> None:
    """Train, and answer the held back pictures."""
    import pandas as pd

    asked = json.loads((folder / "request.json").read_text())
    set_seed(asked["seed"], reproducible=True)
    began = time.perf_counter()
    training = [(str(folder / name), label) for name, label in asked["training"]]
    # Nothing is validated: fastai wants a picture for it, and a second copy of the first is the cheapest.
    table = pd.DataFrame([*training, training[0]], columns=["path", "label"])
    loaders = DataBlock(
        blocks=(ImageBlock, CategoryBlock(vocab=asked["labels"])),
        get_x=ColReader("path"), get_y=ColReader("label"), splitter=IndexSplitter([len(training)]),
        item_tfms=Resize(round(asked["crop"] * 8 / 7)),
        batch_tfms=[*aug_transforms(size=asked["crop"]), Normalize.from_stats(asked["mean"], asked["std"])],
    ).dataloaders(table, bs=_BATCH, num_workers=0)  # fmt: skip
    learner = vision_learner(loaders, asked["architecture"], pretrained=False)
    body = learner.model[0].model
    state = safetensors.torch.load_file(folder / asked["weights"])
    missing, _ = body.load_state_dict(state, strict=False)
    if missing:
        raise SystemExit(f"the weights lack {missing[0]}")
    with learner.no_bar(), learner.no_logging():
        learner.fine_tune(EPOCHS)
        seconds = time.perf_counter() - began
        held_back = pd.DataFrame({"path": [str(folder / name) for name in asked["held_back"]]})
        scores, _ = learner.get_preds(dl=loaders.test_dl(held_back, num_workers=0))
    answer = {"scores": torch.as_tensor(scores).double().tolist(), "seconds": seconds}
    (folder / "answer.json").write_text(json.dumps(answer))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
