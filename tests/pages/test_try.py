"""The front page in Chromium: pictures go in by every way, and labels come out."""

from __future__ import annotations

import base64
import http.server
import io
import re
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from tests import stacks
from tests.pages.browsing import Browsing, fits, tabs
from tests.picture_files import small
from tests.stacks import SAMPLES, Stack

if TYPE_CHECKING:
    from playwright.sync_api import FilePayload, Page

SEVEN = SAMPLES / "digit_7.png"
BROKEN: FilePayload = {"name": "broken.png", "mimeType": "image/png", "buffer": b"\x89PNG\r\n\x1a\nbroken"}
DROP = """([type, files]) => {
  const data = new DataTransfer();
  for (const [name, text] of files) {
    data.items.add(new File([Uint8Array.from(atob(text), (one) => one.charCodeAt(0))], name, { type: 'image/png' }));
  }
  const kind = type === 'paste' ? new ClipboardEvent('paste', { clipboardData: data, bubbles: true })
    : new DragEvent(type, { dataTransfer: data, bubbles: true });
  document.querySelector('.drop').dispatchEvent(kind);
}"""


def choose(page: Page, *files: Path | FilePayload) -> None:
    page.locator("input[type=file]").first.set_input_files(list(files))  # type: ignore[arg-type]


def answered(page: Page) -> str:
    """Return the answer, once it is there."""
    page.locator(".timing").wait_for()
    return page.locator("#answer").inner_text()


def test_a_picture_that_is_chosen_is_answered_with_labels_and_times(browsing: Browsing, stack: Stack) -> None:
    page = browsing.open(stack.url)
    choose(page, SEVEN)
    text = answered(page)
    assert page.locator("#answer h2").inner_text() == "7"
    shares = [float(share) for share in re.findall(r"([\d.]+) %", text)]
    assert len(shares) == 5
    assert shares == sorted(shares, reverse=True)
    assert 0 < sum(shares) <= 100.3
    job = stack.get("/v1/jobs?limit=1")["jobs"][0]
    assert page.get_by_role("link", name="The job of this request").get_attribute("href") == f"/ui/jobs/{job['_id']}"
    times = dict(re.findall(r"(queued|decode|forward|stored)\s+([\d.]+) ms", text))
    run = stack.get(f"/v1/jobs/{job['_id']}")["timeline"][0]
    assert float(times["forward"]) == pytest.approx(run["forward_ms"], abs=0.51)
    assert set(times) == {"queued", "decode", "forward", "stored"}


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_a_picture_that_is_dropped_or_pasted_is_answered(browsing: Browsing, stack: Stack, way: str) -> None:
    page = browsing.open(stack.url)
    page.evaluate(DROP, [way, [["image.png", base64.b64encode(small()["PNG"]).decode()]]])
    assert ("pasted-1.png" if way == "paste" else "image.png") in answered(page)


def test_a_picture_of_the_camera_is_answered(browsing: Browsing, stack: Stack) -> None:
    page = browsing.open(stack.url)
    page.get_by_role("button", name="Camera").click()
    page.get_by_role("button", name="Take the picture").click()
    assert "camera.jpg" in answered(page)
    assert page.get_by_role("dialog").count() == 0


def test_a_sample_is_one_click_away(browsing: Browsing, stack: Stack) -> None:
    page = browsing.open(stack.url)
    page.get_by_role("button", name="Classify coffee.png").click()
    assert "coffee.png" in answered(page)


def test_the_picture_at_an_address_is_refused_in_the_words_of_the_service(browsing: Browsing, stack: Stack) -> None:
    browsing.expect("400")  # loopback is no public address
    page = browsing.open(stack.url)
    page.get_by_label("Address of a picture").fill(f"{stack.url}/samples/cat.png")
    page.get_by_role("button", name="Classify", exact=True).click()
    refusal = page.get_by_role("alert")
    refusal.wait_for()
    asked = httpx.post(f"{stack.url}/v1/classify", json={"inputs": [{"url": f"{stack.url}/samples/cat.png"}]})
    assert refusal.inner_text() == asked.json()["detail"]
    assert f'"url":"{stack.url}/samples/cat.png"' in page.locator("#code").inner_text()


@pytest.fixture
def fetching(tmp_path: Path) -> Iterator[Stack]:
    """A stack that fetches pictures from addresses on this machine."""
    with stacks.running(tmp_path / "data", "--workers", "1", INFERQ_FETCH_PRIVATE="true") as running:
        yield running


@pytest.fixture
def gallery() -> Iterator[str]:
    """The address of a server of the samples."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(SAMPLES))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Print nothing about requests."""


@pytest.mark.slow
def test_the_picture_at_an_address_is_answered(browsing: Browsing, fetching: Stack, gallery: str) -> None:
    page = browsing.open(fetching.url)
    page.get_by_label("Address of a picture").fill(f"{gallery}/digit_7.png")
    page.keyboard.press("Enter")
    text = answered(page)
    assert page.locator("#answer h2").inner_text() == "7"
    assert "digit_7.png" in text
    (job,) = fetching.get("/v1/jobs")["jobs"]
    assert page.get_by_role("link", name="The job of this request").get_attribute("href") == f"/ui/jobs/{job['_id']}"
    fits(page)


def test_several_pictures_fill_a_list_each_with_its_answer_or_error(browsing: Browsing, stack: Stack) -> None:
    page = browsing.open(stack.url)
    three = [SAMPLES / f"digit_{digit}.png" for digit in (1, 2, 3)]
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        for path in three:
            packed.write(path, path.name)
        packed.writestr("broken.png", SEVEN.read_bytes()[:120])  # its header is good, its pixels end early
    payload: FilePayload = {"name": "all.zip", "mimeType": "application/zip", "buffer": archive.getvalue()}
    choose(page, payload)
    text = answered(page)
    assert "3 pictures answered, 1 without an answer" in text
    rows = page.locator(".results li")
    assert rows.count() == 4
    for path in three:
        row = rows.filter(has_text=path.name)
        assert row.locator(".best .label").inner_text() == path.stem[-1]
    rows.filter(has_text="digit_2.png").locator("summary").click()
    assert rows.filter(has_text="digit_2.png").locator(".all .bar").count() == 5
    assert rows.filter(has_text="broken.png").locator(".wrong").first.inner_text() != ""
    assert "3 pictures answered" in page.get_by_role("status").inner_text()
    page.get_by_label("Labels").fill("2")
    page.get_by_label("Labels").blur()
    page.get_by_role("button", name="Classify them again").click()
    page.get_by_role("button", name="Classify them again").wait_for(state="detached")
    answered(page)
    rows.filter(has_text="digit_2.png").locator("summary").click()
    assert rows.filter(has_text="digit_2.png").locator(".all .bar").count() == 2


def test_of_a_folder_only_the_pictures_are_sent(browsing: Browsing, stack: Stack, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "below").mkdir(parents=True)
    shutil.copy(SEVEN, folder / "below" / "seven.png")
    shutil.copy(SAMPLES / "digit_1.png", folder)
    (folder / "notes.txt").write_text("no picture")
    page = browsing.open(stack.url)
    page.locator("input[webkitdirectory]").set_input_files(folder)
    text = answered(page)
    assert "2 pictures answered" in text
    assert "1 file was left out" in text


def test_a_broken_picture_is_answered_in_words(browsing: Browsing, stack: Stack) -> None:
    browsing.expect("400")
    page = browsing.open(stack.url)
    choose(page, BROKEN)
    page.get_by_role("alert").wait_for()
    assert "broken.png" in page.get_by_role("alert").inner_text()


def test_the_choice_is_in_the_address_and_the_picture_is_asked_again(browsing: Browsing, stack: Stack) -> None:
    page = browsing.open(stack.url)
    choose(page, SEVEN)
    answered(page)
    page.get_by_label("Labels").fill("2")
    page.get_by_label("Labels").blur()
    page.locator("#answer .bar").nth(2).wait_for(state="detached")
    page.wait_for_url("**/?top_k=2")
    page.get_by_label("Model").select_option("digits")
    page.wait_for_url("**/?model=digits&top_k=2")
    shared = browsing.open(page.url)
    assert shared.get_by_label("Model").input_value() == "digits"
    choose(shared, SEVEN)
    answered(shared)
    assert shared.locator("#answer .bar").count() == 2


def test_the_evidence_is_shown_where_it_is_asked_for(browsing: Browsing, stack: Stack) -> None:
    page = browsing.open(f"{stack.url}/?explain=1")
    choose(page, SEVEN)
    image = page.get_by_alt_text("The picture, hot where the evidence for 7 lies")
    image.wait_for()
    assert image.evaluate("(one) => one.decode().then(() => one.naturalWidth)") > 0


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("model=nothing", "There is no model nothing."),
        ("model=digits&version=7", "digits has no version 7."),
        ("model=resnet50", "The weights of resnet50 are not here yet."),
    ],
)
def test_a_choice_that_cannot_answer_says_why(browsing: Browsing, stack: Stack, query: str, text: str) -> None:
    page = browsing.open(f"{stack.url}/?{query}")
    assert text in page.locator(".note").inner_text()


def ran(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_same_request_runs_as_it_is_copied(browsing: Browsing, stack: Stack, tmp_path: Path) -> None:
    shutil.copy(SEVEN, tmp_path / "a seven.png")
    page = browsing.open(f"{stack.url}/?model=digits&top_k=3")
    choose(page, tmp_path / "a seven.png")
    answered(page)
    copied = {}
    for language in ("curl", "Python", "JavaScript"):
        page.get_by_role("tab", name=language).click()
        page.locator("#request").get_by_role("button", name="Copy").click()
        page.locator("#request").get_by_role("button", name="Copied").wait_for()
        copied[language] = str(page.evaluate("navigator.clipboard.readText()"))
        page.locator("#request").get_by_role("button", name="Copy", exact=True).wait_for()
    answer = ran(["bash", "-c", f"{copied['curl']} --silent --show-error"], tmp_path)
    assert re.findall(r'"label": ?"(\d)"', answer)[0] == "7"
    (tmp_path / "same.py").write_text(copied["Python"])
    lines = ran([sys.executable, "same.py"], tmp_path).splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("a seven.png 7 ")
    if shutil.which("node"):
        (tmp_path / "same.mjs").write_text(copied["JavaScript"])
        assert re.findall(r'"label": "(\d)"', ran(["node", "--no-warnings", "same.mjs"], tmp_path))[0] == "7"


def test_the_request_never_holds_the_key(browsing: Browsing, stack: Stack) -> None:
    page = browsing.open(stack.url, key="iq_secret")
    for language in ("curl", "Python", "JavaScript"):
        page.get_by_role("tab", name=language).click()
        assert "INFERQ_KEY" in page.locator("#code").inner_text()
        assert "iq_secret" not in page.locator("#code").inner_text()


def test_the_page_is_used_by_keyboard(browsing: Browsing, stack: Stack) -> None:
    page = browsing.open(stack.url)
    stops = tabs(page)
    assert stops[0] == "Skip to the content"
    order = [stops.index(name) for name in ("Try it", "Choose pictures", "Address of a picture", "curl", "Copy")]
    assert order == sorted(order)
    page.get_by_role("tab", name="curl").focus()
    page.keyboard.press("ArrowRight")
    assert page.get_by_role("tab", name="Python").get_attribute("aria-selected") == "true"
    assert "from inferq.client import Client" in page.locator("#code").inner_text()


def test_the_way_to_the_labels_is_kept_short(browsing: Browsing, stack: Stack) -> None:
    assert len(tabs(browsing.open(stack.url))) < 40
