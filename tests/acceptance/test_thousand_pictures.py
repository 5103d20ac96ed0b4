"""A folder of a thousand photographs, classified by the command: one is broken, and the command is killed midway."""

from __future__ import annotations

import csv
import io
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from prometheus_client.parser import text_string_to_metric_families

from inferq.client import Client
from tests import stacks
from tests.stacks import Stack, digits, until

pytestmark = pytest.mark.long
COUNT = 1000
BROKEN = 700
"""The number of the picture whose second half is missing."""


@pytest.fixture(scope="module")
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack whose pictures are all of these tests, which count them."""
    with stacks.running(tmp_path_factory.mktemp("pictures") / "data", "--workers", "1") as running:
        yield running


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of COUNT files in ten subfolders, named by what they show; no two have the same bytes."""
    pictures = [Image.open(io.BytesIO(data)) for _, data in digits()]
    for number in range(COUNT):
        path = tmp_path / "photos" / f"roll-{number // 100}" / f"{number:04}-shows-{number % 10}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        comment = PngInfo()
        comment.add_text("Comment", f"{number}")
        pictures[number % 10].save(path, pnginfo=comment)
        if number == BROKEN:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return tmp_path / "photos"


def started(stack: Stack, photos: Path, *options: str) -> subprocess.Popen[str]:
    """Start the command of a user."""
    python = [sys.executable, "-X", "faulthandler"]
    command = [*python, "-m", "inferq", "classify", str(photos), "--out", str(photos.parent / "results.csv")]
    return subprocess.Popen(
        [*command, "--top-k", "1", "--url", stack.url, *options], text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip


def aborted(command: subprocess.Popen[str]) -> str:
    """End a command that stands still; return where its threads were."""
    command.send_signal(signal.SIGABRT)
    return command.communicate(timeout=20)[1]


def answered(photos: Path) -> list[dict[str, str]]:
    """Return the whole rows of the results."""
    lines = (photos.parent / "results.csv").read_text().splitlines(keepends=True)
    return [*csv.DictReader(line for line in lines if line.endswith("\n"))]


def check(photos: Path, errors: str) -> None:
    """Assert that each picture has its answer once, and the broken one its error, which is told."""
    rows, files = answered(photos), sorted(str(path) for path in photos.glob("*/*.png"))
    assert Counter(row["file"] for row in rows) == Counter(files)
    (broken,) = [row for row in rows if row["error"]]
    assert (broken["file"], broken["label"]) == (files[BROKEN], "")
    wrong = [row["file"] for row in rows if row is not broken and row["label"] != Path(row["file"]).stem[-1]]
    assert wrong == []
    assert f"1 of {COUNT:,} pictures failed" in errors
    assert files[BROKEN] in errors


def ran(stack: Stack) -> float:
    """Return how many pictures the workers have answered."""
    families = text_string_to_metric_families(httpx.get(f"{stack.url}/metrics").text)
    samples = [sample for family in families for sample in family.samples if sample.name == "inferq_pictures_total"]
    return sum(sample.value for sample in samples if sample.labels["outcome"] == "done")


def settled(stack: Stack) -> float:
    """Return the same once the pictures of all jobs are counted."""
    with Client(stack.url) as client:
        jobs = client.jobs.list(limit=10_000)
    done = sum(job.progress.done for job in jobs)
    until(lambda: ran(stack) >= done, 20)
    return ran(stack)


def sent(stack: Stack) -> int:
    """Return how many pictures all jobs have."""
    with Client(stack.url) as client:
        return sum(job.progress.total for job in client.jobs.list(limit=10_000))


def test_a_thousand_pictures_have_their_labels_and_the_broken_one_is_named(own_stack: Stack, photos: Path) -> None:
    command = started(own_stack, photos)
    _, errors = command.communicate(timeout=120)
    assert command.returncode == 1, errors
    check(photos, errors)


def test_a_command_that_was_killed_midway_is_completed_and_no_answered_picture_runs_twice(
    own_stack: Stack, photos: Path
) -> None:
    command = started(own_stack, photos)
    results = photos.parent / "results.csv"
    until(lambda: results.exists() and results.stat().st_size > 0, 60, lambda: aborted(command))
    command.kill()
    command.communicate(timeout=20)
    done = [row for row in answered(photos) if row["label"]]
    assert 0 < len(done) < COUNT - 1

    # What it has sent runs on, and is not in the results: it is sent again.
    until(lambda: not any(own_stack.get("/v1/queue")[count] for count in ("waiting", "running")), 60, own_stack.output)
    already, before = sent(own_stack), settled(own_stack)
    command = started(own_stack, photos, "--resume")
    _, errors = command.communicate(timeout=120)
    assert command.returncode == 1, errors
    check(photos, errors)
    assert sent(own_stack) - already == COUNT - len(done)
    assert settled(own_stack) - before == COUNT - 1 - len(done)
