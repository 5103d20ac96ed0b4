"""Takes the screenshots of docs/images, light and dark: `make screenshots`, or `ARGS=MINUTES` for another traffic.

It starts a stack in a temporary folder, with the default model and a trainer, sends it traffic for some minutes, and
opens its pages in a headless Chromium. The photographs are those of `inferq demo`, the dataset is scikit-learn's
handwritten digits. Nothing that the pages show is made up.
"""

from __future__ import annotations

import contextlib
import io
import math
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from shared import samples  # noqa: E402
from tests import digit_images, stacks  # noqa: E402
from tests.pages.browsing import Browsing, launched  # noqa: E402

if TYPE_CHECKING:
    from playwright.sync_api import Page, ViewportSize

IMAGES = ROOT / "docs" / "images"
MODEL = "efficientnet_lite0"
MOST = 150_000
"""Bytes of a screenshot."""
SIZE: ViewportSize = {"width": 1280, "height": 880}
WITHIN = 300.0
"""Seconds for a training."""
MINUTES = 12.0
"""Minutes of traffic: the charts of the fleet have a point for each."""
WAVE = 240.0
"""Seconds in which the traffic rises and falls once."""
BUSIEST = 6.0
"""Pictures per second at the top of a wave."""


def show_answer(page: Page) -> None:
    """Classify a photograph, and make room for its answer."""
    page.set_viewport_size({**SIZE, "height": 1120})
    page.get_by_role("button", name="Classify coffee.png").click()
    page.locator(".timing").wait_for()
    page.locator(".explained img").wait_for()


def show_call(page: Page) -> None:
    """Search, and open a call."""
    page.locator("#search").fill("jobs")
    page.locator("#found", has_text="call").wait_for()


def show_fleet(page: Page) -> None:
    """Wait for the charts, and make room for them."""
    page.set_viewport_size({**SIZE, "height": 1120})
    page.locator(".chart .line").nth(5).wait_for(state="attached")


def show_jobs(page: Page) -> None:
    """Wait for the pictures of the list."""
    page.locator("a.row.job img").nth(5).wait_for()


def leave(page: Page) -> None:
    """Show the page as it is."""


@contextlib.contextmanager
def traffic(url: str) -> Iterator[None]:
    """Send photographs meanwhile, alone and by the dozen, in waves; as long as a request takes, no other is sent."""
    photos = [(name, path.read_bytes()) for name, path in samples.installed().items()]
    ended = threading.Event()

    def send() -> None:
        began, sent = time.monotonic(), 0
        with httpx.Client(base_url=url, timeout=60) as client:
            while not ended.is_set():
                share = 0.5 - 0.5 * math.cos(2 * math.pi * (time.monotonic() - began) / WAVE)
                sent += 1
                some = [photos[(sent + number) % len(photos)] for number in range(12 if sent % 10 == 0 else 1)]
                answer(client.post("/v1/classify", files=[("files", photo) for photo in some]))
                ended.wait(len(some) / (1 + (BUSIEST - 1) * share))

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def trained(url: str) -> list[str]:
    """Train two versions of a model, and return the paths of their pages."""
    paths = []
    for count in (40, 80):
        archive = digit_images.archive(digit_images.files(dict.fromkeys((3, 5, 8), count)))
        files = {"file": ("numbers.tgz", archive)}
        dataset = httpx.post(
            f"{url}/v1/datasets", files=files, data={"name": f"numbers-{count}"}, headers={"Prefer": "wait=60"},
            timeout=90,
        )  # fmt: skip
        wanted = {"dataset": str(answer(dataset)["id"]), "name": "numbers", "base": MODEL}
        training = answer(httpx.post(f"{url}/v1/trainings", json=wanted))
        ended: list[dict[str, Any]] = []

        def done(path: str = f"{url}/v1/trainings/{training['id']}", ended: list[dict[str, Any]] = ended) -> bool:
            ended[:] = [answer(httpx.get(path, headers={"Prefer": "wait=5"}, timeout=60))]
            return bool(ended[0]["terminal"])

        stacks.until(done, WITHIN)
        if ended[0]["status"] != "DONE":
            raise SystemExit(f"the training ended as {ended[0]['status']}: {ended[0].get('error')}")
        paths.append(f"/ui/trainings/{training['id']}")
    return paths


def answer(response: httpx.Response) -> dict[str, Any]:
    """Return the JSON of an answer that is no error."""
    return dict(response.raise_for_status().json())


def squeezed(png: bytes) -> bytes:
    """Return a screenshot with 256 colours, which are enough for a page and halve its bytes."""
    file = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return file.getvalue()


def take(chromium: Browsing, url: str, name: str, prepare: Callable[[Page], None]) -> None:
    """Write the screenshots of a page, light and dark."""
    for scheme, suffix in (("light", ""), ("dark", "-dark")):
        page = chromium.open(url, scheme=scheme)
        page.set_viewport_size(SIZE)
        prepare(page)
        page.wait_for_load_state("networkidle")
        data = squeezed(page.screenshot(animations="disabled"))
        if len(data) > MOST:
            raise SystemExit(f"{name}{suffix}.png has {len(data)} bytes, more than {MOST}")
        (IMAGES / f"{name}{suffix}.png").write_bytes(data)
        print(f"docs/images/{name}{suffix}.png  {len(data)} bytes")


def main() -> None:
    """Take all screenshots."""
    IMAGES.mkdir(exist_ok=True)
    seconds = 60 * float(sys.argv[1] if len(sys.argv) > 1 else MINUTES)
    with (
        tempfile.TemporaryDirectory() as scratch,
        stacks.running(Path(scratch) / "data", "--workers", "1", trainer=True, INFERQ_DEFAULT_MODEL=MODEL) as stack,
        launched() as chromium,
    ):
        with traffic(stack.url):
            until = time.monotonic() + seconds
            training = trained(stack.url)[-1]
            time.sleep(max(0.0, until - time.monotonic()))
            take(chromium, f"{stack.url}/ui/fleet", "fleet", show_fleet)
        take(chromium, f"{stack.url}/ui/jobs", "jobs", show_jobs)
        take(chromium, f"{stack.url}/?explain=1", "try", show_answer)
        take(chromium, stack.url + training, "training", leave)
        take(chromium, f"{stack.url}/ui/models", "models", leave)
        take(chromium, f"{stack.url}/docs", "reference", show_call)


if __name__ == "__main__":
    main()
