"""The figures of an NVIDIA card, as JSON: `python -m bench.cuda FILE`; networks, decoding, and both together.

Everything runs in processes of its own, without queue and HTTP. Weights are random, since they do not matter to speed;
pictures are JPEGs of 500 x 375, as ImageNet's are on average.
"""

from __future__ import annotations

import importlib.metadata
import io
import itertools
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any, cast

import torch
import torchvision
from PIL import Image
from torch import nn
from torchvision.transforms.v2 import functional as transforms

from bench import material
from bench.subprocess_rpc import Helper
from inferq.client import Client
from inferq.commands.up import running
from inferq.stack import stack
from shared.domain.preprocessing import Preprocessing
from worker import families, optimise, preprocess
from worker.cuda_network import CudaNetwork
from worker.engine import top_k

ARCHITECTURES = ("resnet50", "vit_b_16")
KINDS = {"exact": torch.float32, "fast": torch.float16}
COMPILED = ("resnet50",)
"""Those that torch.compile makes faster."""
BATCHES = (1, 16, 64, 256)
THREADS = (1, 2, 4, 8, 16)
SIZE, QUALITY = (500, 375), 96
SECONDS = 1.0
PROCESSES = (
    ("resnet50", "fast", 1, 256), ("resnet50", "fast", 4, 64), ("resnet50", "fast", 8, 64),
    ("resnet50", "fast", 16, 64), ("resnet50", "exact", 4, 64),
    ("vit_b_16", "fast", 8, 64), ("vit_b_16", "exact", 4, 64),
)  # fmt: skip
"""What is measured together: architecture, precision, processes, and the pictures in one batch of each."""
WORKERS = (("fast", 4), ("fast", 8), ("fast", 1), ("exact", 4))
"""The stacks that are measured."""
ARCHIVE = 3000
COMPILING = 60.0
"""Seconds after which the stack is measured with whatever network has been found."""
LABELS = [f"class {number}" for number in range(material.LABELS)]

Run = Callable[[Sequence[torch.Tensor]], torch.Tensor]


def network(architecture: str, kind: torch.dtype) -> tuple[nn.Module, str, Preprocessing]:
    """Return a network as the engine prepares it, the name of its head, and its preprocessing."""
    torch.manual_seed(material.SEED)
    built = torchvision.models.get_model(architecture, weights=None).eval().requires_grad_(False)
    head, last = families.head(built)
    nn.init.normal_(cast(nn.Linear, last).weight, std=0.05)  # a vision transformer's is zero
    fused = optimise.fused(built).to("cuda", kind).to(memory_format=torch.channels_last)
    return fused, head, families.find(architecture).preprocessing(architecture)


def eager(built: nn.Module, preprocessing: Preprocessing, kind: torch.dtype) -> Run:
    """Return a function that runs crops kernel by kernel, as the engine does without graphs."""

    @torch.inference_mode()
    def run(crops: Sequence[torch.Tensor]) -> torch.Tensor:
        batch = preprocess.stack(crops).pin_memory().to("cuda", non_blocking=True)
        return torch.as_tensor(built(preprocess.normalise(batch, preprocessing).to(kind))).float().cpu()

    return run


def rate(run: Callable[[], object], count: int, seconds: float = SECONDS) -> float:
    """Return `count` per second of a function, the median of three rounds after one run."""
    run()
    rates = []
    for _ in range(3):
        began, done = time.perf_counter(), 0
        while time.perf_counter() - began < seconds / 3:
            run()
            done += count
        rates.append(done / (time.perf_counter() - began))
    return round(median(rates), 1)


def latency(run: Callable[[], object], times: int = 100) -> float:
    """Return the median milliseconds of a function."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        run()
        taken.append(time.perf_counter() - began)
    return round(1000 * median(taken), 3)


def networks() -> Iterator[dict[str, Any]]:
    """Measure each network: crops in, logits out, by the way in which it runs and the pictures at once."""
    crops = [torch.randint(0, 256, (224, 224, 3), dtype=torch.uint8).permute(2, 0, 1) for _ in range(max(BATCHES))]
    for architecture, kind in itertools.product(ARCHITECTURES, (torch.float32, torch.float16, torch.bfloat16)):
        built, head, preprocessing = network(architecture, kind)
        plain = eager(built, preprocessing, kind)
        reference = plain(crops)
        for way in ("eager", "graphs", "graphs, compiled"):
            began = time.perf_counter()
            run = plain if way == "eager" else CudaNetwork(built, head, preprocessing, compiled="compiled" in way)
            yield {
                "architecture": architecture,
                "type": str(kind).removeprefix("torch."),
                "way": way,
                "seconds_to_make": round(time.perf_counter() - began, 1),
                "rates": {str(batch): rate(lambda: run(crops[:batch]), batch) for batch in BATCHES},  # noqa: B023
                "latency_ms": latency(lambda: run(crops[:1])),  # noqa: B023
                "difference": ((run(crops) - reference).abs().max() / reference.abs().max()).item(),
            }


# decoding


def decoders() -> dict[str, Callable[[bytes], torch.Tensor]]:
    """Return name -> a function that makes a crop of a JPEG."""
    preprocessing = families.find("resnet50").preprocessing("resnet50")

    def with_worker(data: bytes) -> torch.Tensor:
        return preprocess.crop(preprocess.decode(data, preprocessing), preprocessing)

    def resized(pixels: torch.Tensor) -> torch.Tensor:
        return transforms.center_crop(transforms.resize(pixels, [232], antialias=True), [224])

    def with_pillow(data: bytes) -> torch.Tensor:
        image = Image.open(io.BytesIO(data), formats=("JPEG",)).convert("RGB")
        return resized(transforms.pil_to_tensor(image))

    def with_torchvision(data: bytes) -> torch.Tensor:
        return resized(torchvision.io.decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8)))

    return {"worker": with_worker, "Pillow, torch's resize": with_pillow, "torchvision": with_torchvision}


def decoding(pictures: list[bytes]) -> Iterator[dict[str, Any]]:
    """Measure pictures per second by way and number of threads."""
    many = pictures * 8
    for name, decode in decoders().items():
        rates = {}
        for threads in THREADS:
            with ThreadPoolExecutor(threads) as pool:
                rates[str(threads)] = rate(lambda: list(pool.map(decode, many)), len(many))  # noqa: B023
        yield {"way": name, "rates_by_threads": rates}
    for batch in (16, 64):
        yield {"way": f"nvJPEG, resized on the card, {batch} at once", **nvjpeg(many[:batch])}


def nvjpeg(pictures: list[bytes]) -> dict[str, Any]:
    """Measure decoding on the card, with and without resizing there, and how far its pixels are from Pillow's."""
    encoded = [torch.frombuffer(bytearray(data), dtype=torch.uint8) for data in pictures]

    def decode() -> list[torch.Tensor]:
        found = torchvision.io.decode_jpeg(encoded, mode=torchvision.io.ImageReadMode.RGB, device="cuda")
        torch.cuda.synchronize()
        return list(found)

    def crops() -> torch.Tensor:
        found = torchvision.io.decode_jpeg(encoded, mode=torchvision.io.ImageReadMode.RGB, device="cuda")
        small = [
            transforms.center_crop(transforms.resize(pixels.float()[None], [232], antialias=True), [224])
            for pixels in found
        ]
        torch.cuda.synchronize()
        return torch.cat(small)

    try:
        one = transforms.pil_to_tensor(Image.open(io.BytesIO(pictures[0])).convert("RGB"))
        off = (decode()[0].cpu().int() - one.int()).abs()
        return {
            "decoded": rate(decode, len(pictures)),
            "decoded_and_resized": rate(crops, len(pictures)),
            "largest_pixel_difference": off.max().item(),
            "mean_pixel_difference": round(off.double().mean().item(), 3),
        }
    except (RuntimeError, AttributeError) as error:
        return {"error": str(error).splitlines()[0]}


# both together


def pipeline(
    architecture: str, kind: torch.dtype, pictures: list[bytes], batch: int, threads: int, begin: Any, seconds: float
) -> float:
    """Decode and run for some seconds, one batch ahead as worker/consumer.py does; returns pictures per second.

    `begin` is a barrier, passed when everything is warm.
    """
    torch.set_num_threads(1)
    torch.backends.cudnn.allow_tf32 = False
    built, head, preprocessing = network(architecture, kind)
    run = CudaNetwork(built, head, preprocessing, compiled=architecture in COMPILED)
    turns = itertools.cycle(pictures)

    def prepared(data: bytes) -> torch.Tensor:
        return preprocess.crop(preprocess.decode(data, preprocessing), preprocessing)

    with ThreadPoolExecutor(threads) as pool, ThreadPoolExecutor(1) as ahead:

        def decoded() -> list[torch.Tensor]:
            return list(pool.map(prepared, itertools.islice(turns, batch)))

        coming = ahead.submit(decoded)
        coming.result()
        begin.wait()
        began, done = time.perf_counter(), 0
        while time.perf_counter() - began < seconds:
            ready = coming.result()
            coming = ahead.submit(decoded)
            top_k(run(ready), LABELS, 5)
            done += batch
        return done / (time.perf_counter() - began)


def _child(found: Any, *arguments: Any) -> None:
    found.put(pipeline(*arguments))


def together(pictures: list[bytes]) -> Iterator[dict[str, Any]]:
    """Measure several processes on the card, with the cores divided among them."""
    spawning = multiprocessing.get_context("spawn")
    cores = len(os.sched_getaffinity(0))
    for architecture, precision, processes, batch in PROCESSES:
        begin, found = spawning.Barrier(processes), spawning.Queue()
        threads = max(1, cores // processes)
        arguments = (architecture, KINDS[precision], pictures, batch, threads, begin, 3.0)
        children = [spawning.Process(target=_child, args=(found, *arguments)) for _ in range(processes)]
        for child in children:
            child.start()
        rates = [found.get(timeout=120) for _ in children]
        for child in children:
            child.join()
        yield {
            "architecture": architecture, "precision": precision, "processes": processes, "batch": batch,
            "decode_threads_each": threads, "rate": round(sum(rates), 1),
        }  # fmt: skip


# the whole stack


def served(folder: Path) -> Iterator[dict[str, Any]]:
    """Measure the stack with HTTP, queue and database, as `inferq up` starts it."""
    material.labels(folder / "labels.txt")
    material.archive(folder / "pictures.tar", sorted(folder.glob("*.jpg")), ARCHIVE)
    material.weights(folder / "weights.safetensors", ARCHITECTURES[0])
    for precision, workers in WORKERS:
        environment = {
            "INFERQ_PRECISION": precision,
            "INFERQ_DECODE_THREADS": str(max(1, len(os.sched_getaffinity(0)) // workers)),
        }
        os.environ |= environment
        options = stack.StackOptions(
            folder / f"{precision}-{workers}", port=0, workers=workers, trainer=False, default_model="digits"
        )
        options.data.mkdir()
        with ThreadPoolExecutor(1) as beside, running(options, _quiet) as (plan, supervisor):
            stack.start(plan, supervisor, _quiet)
            measured = beside.submit(_load, plan.url, folder)
            supervisor.watch(measured.done)
            yield {"architecture": ARCHITECTURES[0], "precision": precision, "workers": workers} | measured.result()


def _load(url: str, folder: Path) -> dict[str, Any]:
    name = "bench"
    none: dict[str, Any] = {"pids": {}}
    with Client(url, os.environ.get("INFERQ_ADMIN_KEY", ""), timeout=120.0) as client, ExitStack() as helpers:
        weights, labels = folder / "weights.safetensors", folder / "labels.txt"
        client.models.upload(name, weights, architecture=ARCHITECTURES[0], labels=labels)
        load = helpers.enter_context(Helper("bench.load", url, name, str(folder)))
        until = time.monotonic() + COMPILING
        while client.models.get_version(name, "1").engine_report is None and time.monotonic() < until:
            load.ask(way="synchronous", concurrency=64, warmup=0.0, seconds=2.0, **none)
        load.ask(way="synchronous", concurrency=256, warmup=0.0, seconds=6.0, **none)  # for the other workers
        found: dict[str, Any] = {}
        for callers in (1, 64, 256):
            answer = load.ask(way="synchronous", concurrency=callers, warmup=1.0, seconds=4.0, **none)
            taken = sorted(answer["latencies"]) or [0.0]
            found[f"{callers} callers"] = {
                "rate": round(len(taken) / answer["seconds"], 1),
                "p50_ms": round(taken[len(taken) // 2], 2),
                "errors": answer["errors"],
            }
        archives = [load.ask(way="archive", concurrency=1, warmup=0.0, seconds=0.0, **none) for _ in range(2)]
        found["archive"] = round(ARCHIVE / min(answer["seconds"] for answer in archives), 1)
        version = client.models.get_version(name, "1")
        report = version.engine_report
        measured = {"measured": dict(report.pictures_per_second), "refused": report.refused} if report else {}
        return found | {"engine": version.engine} | measured


def _quiet(name: str, text: str) -> None:
    """Print nothing."""


def main(path: Path, parts: Sequence[str]) -> None:
    """Measure the parts, and write what was found after each of them."""
    torch.set_num_threads(1)
    torch.backends.cudnn.allow_tf32 = False
    card = torch.cuda.get_device_properties(0)
    result: dict[str, Any] = {
        "machine": {
            "date": time.strftime("%Y-%m-%d", time.gmtime()), "card": card.name, "cores": len(os.sched_getaffinity(0)),
            "python": sys.version.split()[0], "torch": torch.__version__, "torchvision": torchvision.__version__,
            "pillow": importlib.metadata.version("pillow"),
        }
    }  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="inferq-bench-") as scratch:
        _measure(path, parts, Path(scratch), result)


def _measure(path: Path, parts: Sequence[str], folder: Path, result: dict[str, Any]) -> None:
    pictures = [each.read_bytes() for each in material.pictures(folder, sizes=(SIZE,), quality=QUALITY)]
    result["material"] = {"size": SIZE, "mean_bytes": sum(map(len, pictures)) / len(pictures)}
    steps: dict[str, Callable[[], Iterator[dict[str, Any]]]] = {
        "networks": networks,
        "decoding": lambda: decoding(pictures),
        "together": lambda: together(pictures),
        "served": lambda: served(folder),
    }
    for part in parts:
        result[part] = []
        for row in steps[part]():
            print(json.dumps(row), flush=True)
            result[part].append(row)
            path.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:] or ("networks", "decoding", "together", "served"))
