"""The in-process limit: the same engine without queue and HTTP, as a helper process (`python -m bench.limit`).

It imports worker.engine, which only the benchmark may: the limit must be measured on the same code. Pictures are
decoded one batch ahead in a thread, as in worker/consumer.py.
"""

from __future__ import annotations

import hashlib
import itertools
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from bench import material, subprocess_rpc
from shared.domain.models import ModelState, ModelVersion
from shared.settings import from_environment
from worker import examination, families, openvino_conversion, openvino_network, tuning, weights
from worker.engine import Engine, Loaded, top_k

TOP_K = 5


def load(architecture: str, path: Path) -> Loaded:
    """Return the model as a worker loads it, with the settings of the environment."""
    preprocessing = families.find(architecture).preprocessing(architecture)
    data = path.read_bytes()
    version = ModelVersion(
        id="bench", tenant="bench", name="bench", version="1", family="", architecture=architecture,
        state=ModelState.READY, created_at=0.0, labels=tuple(f"class {number}" for number in range(material.LABELS)),
        preprocessing=preprocessing, weights="weights", checksum=hashlib.sha256(data).hexdigest(), max_batch=64,
    )  # fmt: skip
    settings = from_environment()
    model = Engine(settings, lambda _: data).load(version)
    if settings.engine == "auto" and model.can_be_tuned and openvino_network.is_available():
        _tune(model, data, settings.precision)
    return model


def _tune(model: Loaded, data: bytes, precision: str) -> None:
    """Give the model the faster runtime, as the tuner of a busy worker does."""
    version, preprocessing = model.version, model.preprocessing
    family = families.find(version.architecture)
    network = weights.restore(family, version.architecture, preprocessing, data, version.config)
    with tempfile.TemporaryDirectory(prefix="inferq-bench-") as name:
        openvino_conversion.convert(network, preprocessing, examination.example(), Path(name))
        stored = Path(name, openvino_conversion.CONVERTED).read_bytes()
    tuning.choose_engine(model, stored, torch.get_num_threads(), precision)


def throughput(model: Loaded, pictures: list[bytes], batch: int, seconds: float) -> tuple[int, float, float]:
    """Run batches of that size for about `seconds`, decoding included; return (pictures, seconds, seconds of CPU)."""
    turns = itertools.cycle(pictures)

    def decoded() -> list[torch.Tensor]:
        return [model.prepare(next(turns)) for _ in range(batch)]

    done = 0
    with ThreadPoolExecutor(1) as ahead:
        coming = ahead.submit(decoded)
        coming.result()
        started, cpu = time.perf_counter(), time.process_time()
        while (passed := time.perf_counter() - started) < seconds:
            ready = coming.result()
            coming = ahead.submit(decoded)
            _answers(model, ready)
            done += batch
        return done, passed, time.process_time() - cpu


def latencies(model: Loaded, pictures: list[bytes], seconds: float) -> Iterator[float]:
    """Yield the milliseconds of one picture after another (prepare, forward, top-k) for about `seconds`."""
    until = time.perf_counter() + seconds
    for data in itertools.cycle(pictures):
        started = time.perf_counter()
        if started > until:
            return
        _answers(model, [model.prepare(data)])
        yield (time.perf_counter() - started) * 1000


def _answers(model: Loaded, inputs: list[torch.Tensor]) -> None:
    top_k(model.forward(inputs), model.version.labels, TOP_K)


def main(architecture: str, path: Path, folder: Path) -> None:
    """Load the model, then answer the questions `throughput`, `latencies` and `facts`."""
    model = load(architecture, path)
    pictures = [path.read_bytes() for path in sorted(folder.glob("*.jpg"))]

    def answer(question: dict[str, Any]) -> Any:
        match question["do"]:
            case "throughput":
                return throughput(model, pictures, question["batch"], question["seconds"])
            case "latencies":
                return list(latencies(model, pictures, question["seconds"]))
        return {
            "runtime": model.runtime,
            "numbers": model.numbers,
            "torch": torch.__version__,
            "torch_threads": torch.get_num_threads(),
            "device": str(model.device),
        }

    subprocess_rpc.serve(answer)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
