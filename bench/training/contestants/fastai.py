"""fastai: its `fine_tune` with the same base, in an environment of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from bench.peers import environments
from bench.training.base import Base
from bench.training.contestants import Answer, CannotRun
from bench.training.tasks import Draw
from shared.domain.preprocessing import sides
from worker import weights

REQUIREMENTS = ("fastai", "timm")
_PROGRAM = Path(__file__).with_name("fastai_program.py")
"""By its path: as a module it would import the packages around it, and what these need, which its environment lacks."""
_WEIGHTS = "base.safetensors"
_LIMIT = 3600.0
"""Seconds after which a training is given up."""


class Fastai:
    """fastai's `fine_tune`."""

    name = "fastai"

    def __init__(self, base: Base, folder: Path) -> None:
        """`folder` is empty, and receives pictures and weights."""
        self._base = base
        self._folder = folder

    @cached_property
    def _python(self) -> Path:
        environments.cache().mkdir(parents=True, exist_ok=True)
        try:
            return environments.create("fastai", REQUIREMENTS)
        except environments.CannotInstall as error:
            raise CannotRun(f"fastai cannot be installed: {error}") from error

    def learn(self, draw: Draw) -> Answer:
        """Train in the other environment, and read its answers; raises CannotRun."""
        python, folder = self._python, self._folder
        folder.mkdir(parents=True)
        try:
            self._write_request(draw)
            threads = str(torch.get_num_threads())
            command = [str(python), "-P", str(_PROGRAM), str(folder)]
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=_LIMIT, check=False, cwd=folder,
                env=environments.environment(OMP_NUM_THREADS=threads, CUDA_VISIBLE_DEVICES=""),
            )  # fmt: skip
            if done.returncode:
                raise CannotRun(f"its program failed: {(done.stderr.strip() or 'without a word').splitlines()[-1]}")
            answer = json.loads((folder / "answer.json").read_text())
        except subprocess.TimeoutExpired as error:
            raise CannotRun(f"a training takes more than {_LIMIT:g} s") from error
        finally:
            shutil.rmtree(folder)
        return Answer(np.array(answer["scores"]), answer["seconds"])

    def _write_request(self, draw: Draw) -> None:
        preprocessing = self._base.load().preprocessing
        for picture in (*draw.training, *draw.held_back):
            (self._folder / picture.name).write_bytes(picture.data)
        weights.write(self._base.network(len(draw.task.labels)).state_dict(), self._folder / _WEIGHTS)
        labels = draw.task.labels
        request = {
            "seed": draw.seed,
            "architecture": self._base.version.architecture,
            "weights": _WEIGHTS,
            "crop": sides(preprocessing.crop)[0],
            "mean": preprocessing.mean,
            "std": preprocessing.std,
            "labels": labels,
            "training": [
                [each.name, labels[label]] for each, label in zip(draw.training, draw.given, strict=True)
            ],
            "held_back": [picture.name for picture in draw.held_back],
        }  # fmt: skip
        (self._folder / "request.json").write_text(json.dumps(request))
