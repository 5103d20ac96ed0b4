"""checkpoint_store.py: a training resumes from what it has stored, and from nothing that another release has stored."""

from __future__ import annotations

import json
import uuid

import pytest
import safetensors.torch
import torch

from shared.adapters.storage import Storage
from shared.domain.trainings import checkpoint_key
from worker.training.checkpoint_store import CheckpointStore
from worker.training.epochs import EpochReport


@pytest.fixture
def storage() -> Storage:
    return Storage(f"memory://{uuid.uuid4().hex}/blobs")


def test_a_checkpoint_is_read_back(storage: Storage) -> None:
    written = CheckpointStore(storage, "t")
    written.add_epoch("head", EpochReport(1, 0.5, 0.9, None, None))
    written.write("head", {"weight": torch.ones(2)})
    found = CheckpointStore(storage, "t")
    assert (found.stage, found.curve) == ("head", written.curve)
    assert torch.equal(found.tensors["weight"], torch.ones(2))


def test_a_checkpoint_of_the_release_before_is_ignored(storage: Storage) -> None:
    """Its network has learned from the training pictures of other splits, some of which test and judge by now."""
    notes = {"format": 1, "stage": "fine-tuning", "curve": [{"stage": "head", "epoch": 1}], "seconds": {"head": 1.0}}
    data = {"now.weight": torch.ones(2), "notes": torch.tensor(list(json.dumps(notes).encode()), dtype=torch.uint8)}
    storage.write(checkpoint_key("t"), safetensors.torch.save(data))
    found = CheckpointStore(storage, "t")
    assert (found.stage, found.curve, found.seconds, found.tensors) == ("", [], {}, {})
