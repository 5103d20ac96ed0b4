"""The pages of jobs in Chromium: lists that live, filters in the address, pictures by the hundred, and every button."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests import stacks
from tests.pages.browsing import Browsing, fits, overflow, tabs, violations
from tests.picture_files import truncated_png
from tests.stacks import Stack, until

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

pytestmark = pytest.mark.slow
MANY = 130


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack of its own, in which no job has been sent before."""
    with stacks.running(tmp_path_factory.mktemp("jobs") / "data", "--workers", "1") as running:
        yield running


def expect(page: Page, selector: str, text: str | re.Pattern[str]) -> None:
    """Wait until the first such element holds the text."""
    from playwright.sync_api import expect as expect_

    expect_(page.locator(selector).first).to_contain_text(text)


@pytest.fixture(scope="module")
def jobs(stack: Stack) -> dict[str, str]:
    """The ids of one job of each kind."""
    digits = stacks.digits()
    kinds: dict[str, dict[str, Any]] = {
        "one": stack.submit(digits[7:8], model="digits"),
        "mixed": stack.submit([*digits[:3], ("torn.png", truncated_png())], model="digits"),
        "explained": stack.submit(digits[4:5], model="digits", explain="true"),
        "many": stack.submit([(f"{number:03}.png", digits[number % 10][1]) for number in range(MANY)], model="digits"),
        "features": stack.submit(digits[1:2], model="digits", task="features"),
    }
    return {name: stack.finished(job["_id"], 60)["_id"] for name, job in kinds.items()}


def test_an_empty_list_has_a_command_that_fills_it(stack: Stack, browsing: Browsing, tmp_path: Path) -> None:
    page = browsing.open(f"{stack.url}/ui/jobs")
    command = page.locator(".empty pre").inner_text()
    (tmp_path / "photo.jpg").write_bytes(stacks.digits()[5][1])
    subprocess.run(shlex.split(command), cwd=tmp_path, check=True, capture_output=True, timeout=30)
    page.locator("a.row.job").wait_for()
    assert violations(page) == []


@pytest.mark.parametrize("path", ["jobs", "jobs/{mixed}", "jobs/nowhere"])
def test_pages_with_content_fit_every_screen_and_break_no_rule(
    stack: Stack, jobs: dict[str, str], browsing: Browsing, path: str
) -> None:
    browsing.expect("404")
    page = browsing.open(f"{stack.url}/ui/{path.format(**jobs)}")
    fits(page)


def test_the_list_shows_the_newest_first_with_picture_label_and_status(
    stack: Stack, jobs: dict[str, str], browsing: Browsing
) -> None:
    page = browsing.open(f"{stack.url}/ui/jobs")
    rows = page.locator("a.row.job")
    assert rows.first.get_attribute("href") == f"/ui/jobs/{jobs['features']}"
    row = page.locator(f"a[href='/ui/jobs/{jobs['one']}']")
    assert row.locator(".best b").inner_text() == "7"
    assert row.locator(".state").inner_text() == "done"
    assert row.locator(".what b").inner_text() == "digit_7.png"
    row.locator("img").wait_for()
    mixed = page.locator(f"a[href='/ui/jobs/{jobs['mixed']}']")
    assert "1 picture failed" in mixed.inner_text()
    assert "and 3 more" in mixed.inner_text()


def test_filters_are_in_the_address_and_the_browsers_back_leads_back(
    stack: Stack, jobs: dict[str, str], browsing: Browsing
) -> None:
    page = browsing.open(f"{stack.url}/ui/jobs?status=done&time=day")
    assert page.get_by_label("Status").input_value() == "DONE"
    assert page.get_by_label("Created").input_value() == "day"
    page.locator("a.row.job").nth(len(jobs) - 1).wait_for()
    page.get_by_label("Status").select_option("EXPIRED")
    expect(page, ".empty", "No job matches these filters.")
    assert page.url.endswith("/ui/jobs?status=EXPIRED&time=day")
    page.go_back()
    page.locator("a.row.job").first.wait_for()
    assert page.get_by_label("Status").input_value() == "DONE"
    page.get_by_label("Status").select_option("EXPIRED")
    page.get_by_role("button", name="Show all jobs").click()
    page.locator("a.row.job").first.wait_for()
    assert page.url.endswith("/ui/jobs")


def test_a_new_job_appears_by_itself_but_not_under_the_pointer(
    stack: Stack, jobs: dict[str, str], browsing: Browsing
) -> None:
    page = browsing.open(f"{stack.url}/ui/jobs?model=digits")
    page.mouse.move(1, 1)
    new = stack.submit(stacks.digits()[2:3], model="digits")["_id"]
    page.locator(f"a[href='/ui/jobs/{new}']").wait_for()
    first = page.locator("a.row.job").first
    first.hover()
    newer = stack.submit(stacks.digits()[3:4], model="digits")["_id"]
    button = page.get_by_role("button", name="1 new job")
    button.wait_for()
    assert first.get_attribute("href") == f"/ui/jobs/{new}"
    button.click()
    page.locator(f"a[href='/ui/jobs/{newer}']").wait_for()


def test_a_job_is_found_by_part_of_its_name_or_id_and_by_its_wire(
    stack: Stack, jobs: dict[str, str], browsing: Browsing
) -> None:
    page = browsing.open(f"{stack.url}/ui/jobs")
    rows = page.locator("a.row.job")
    page.get_by_label("Find").fill(jobs["many"][-12:])
    page.keyboard.press("Enter")
    page.locator(f"a[href='/ui/jobs/{jobs['one']}']").wait_for(state="detached")
    assert [row.get_attribute("href") for row in rows.all()] == [f"/ui/jobs/{jobs['many']}"]
    page.get_by_label("Find").fill("DIGIT_7")
    page.keyboard.press("Enter")
    page.locator(f"a[href='/ui/jobs/{jobs['one']}']").wait_for()
    assert page.url.endswith("text=DIGIT_7")
    page.get_by_label("Wire").select_option("SAP Leonardo")
    expect(page, ".empty", "No job matches these filters.")


def test_a_job_tells_where_its_time_went_and_why_its_batch_closed(
    stack: Stack, jobs: dict[str, str], browsing: Browsing
) -> None:
    page = browsing.open(f"{stack.url}/ui/jobs/{jobs['mixed']}")
    expect(page, ".timing", "Answered in")
    row = page.locator(".batches tbody tr").first.inner_text()
    timeline = stack.get(f"/v1/jobs/{jobs['mixed']}")["timeline"]
    assert f"{timeline[0]['pictures']} of {timeline[0]['batch']}" in row
    assert {"none_left": "nothing else waited", "full": "it was full"}[timeline[0]["closed"]] in row


def test_the_timeline_tells_the_worker_and_a_second_attempt(
    stack: Stack, jobs: dict[str, str], browsing: Browsing
) -> None:
    def after_a_death(route: Route) -> None:
        job = route.fetch().json()
        (run,) = job["timeline"]
        route.fulfill(json={**job, "timeline": [run, {**run, "attempt": 2, "closed": "alone"}]})

    url = f"{stack.url}/ui/jobs/{jobs['one']}"
    (run,) = stack.get(f"/v1/jobs/{jobs['one']}")["timeline"]
    page = browsing.open(url)
    worker = page.locator(".batches .who")
    assert worker.inner_text() == "-".join(run["worker"].split("-")[-2:])
    assert worker.get_attribute("title") == run["worker"]
    assert "attempt" not in page.locator(".batches thead").inner_text()
    page.route(f"**/v1/jobs/{jobs['one']}", after_a_death)
    page.goto(url)
    expect(page, ".batches thead", "attempt")
    rows = [row.locator("td").all_inner_texts() for row in page.locator(".batches tbody tr").all()]
    assert [(row[-2], row[-1]) for row in rows] == [(str(number), worker.first.inner_text()) for number in (1, 2)]
    assert rows[1][1] == "runs alone, after an attempt before"
    fits(page)


def test_pictures_by_the_hundred_load_as_one_scrolls_and_the_failed_by_themselves(
    stack: Stack, jobs: dict[str, str], browsing: Browsing
) -> None:
    page = browsing.open(f"{stack.url}/ui/jobs/{jobs['many']}")
    cards = page.locator(".outcomes .shot")
    cards.nth(47).wait_for()
    assert cards.count() < MANY
    for _ in range(150):
        page.mouse.wheel(0, 3000)
        if cards.count() == MANY:
            break
        page.wait_for_timeout(100)
    assert cards.count() == MANY
    assert [cards.nth(number).locator(".label").inner_text() for number in (0, 9, MANY - 1)] == ["0", "9", "9"]

    page = browsing.open(f"{stack.url}/ui/jobs/{jobs['mixed']}")
    page.get_by_role("button", name="1 failed", exact=True).click()
    page.locator(".outcomes .shot").nth(1).wait_for(state="detached")
    assert "torn.png" in page.locator(".outcomes .shot").inner_text()


def test_a_picture_opens_large_and_its_label_can_be_corrected(
    stack: Stack, jobs: dict[str, str], browsing: Browsing
) -> None:
    httpx.post(f"{stack.url}/v1/datasets", json={"name": "corrections", "labels": ["four", "nine"]}).raise_for_status()
    page = browsing.open(f"{stack.url}/ui/jobs/{jobs['explained']}")
    page.locator(".outcomes .shot").first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_alt_text("The picture that was sent").wait_for()
    dialog.get_by_alt_text(re.compile("hot where the evidence for 4 lies")).wait_for()
    assert dialog.locator(".bar").count() == 5
    assert violations(page) == []
    dialog.get_by_label("The right label").fill("nine")
    dialog.get_by_label("Dataset that learns it").select_option(label="corrections")
    dialog.get_by_role("button", name="Correct the label").click()
    dialog.get_by_text("It is now an example of nine").wait_for()
    assert stack.get("/v1/datasets/corrections/examples")["examples"][0]["label"]["name"] == "nine"
    page.keyboard.press("Escape")
    dialog.wait_for(state="hidden")


def test_results_can_be_saved(stack: Stack, jobs: dict[str, str], browsing: Browsing) -> None:
    page = browsing.open(f"{stack.url}/ui/jobs/{jobs['mixed']}")
    with page.expect_download() as saved:
        page.get_by_role("button", name="Download as JSON").click()
    lines = Path(saved.value.path()).read_text().splitlines()
    assert [json.loads(line)["position"] for line in lines] == [0, 1, 2, 3]
    with page.expect_download() as saved:
        page.get_by_role("button", name="Download as CSV").click()
    assert Path(saved.value.path()).read_text().startswith("position,name,status")
    assert saved.value.url.startswith(f"{stack.url}/v1/jobs/{jobs['mixed']}/results?")  # no blob: of the page


def test_the_failed_run_again_and_a_job_is_deleted_after_a_second_click(stack: Stack, browsing: Browsing) -> None:
    job = stack.submit([stacks.digits()[1], ("torn.png", truncated_png())], model="digits")
    stack.finished(job["_id"], 60)
    page = browsing.open(f"{stack.url}/ui/jobs/{job['_id']}")
    page.get_by_role("button", name="Run 1 failed picture again").click()
    until(lambda: stack.get(f"/v1/jobs/{job['_id']}").get("retries") == 1, 20)
    stack.finished(job["_id"], 60)
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_role("button", name="Delete it with its pictures and answers?").click()
    page.wait_for_url("**/ui/jobs")
    assert httpx.get(f"{stack.url}/v1/jobs/{job['_id']}").status_code == 404


def test_a_job_that_waits_is_cancelled_after_a_second_click(stack: Stack, browsing: Browsing) -> None:
    with stack.halted("worker-1"):
        job = stack.submit(stacks.digits()[:3], model="digits")["_id"]
        page = browsing.open("about:blank")
        page.goto(f"{stack.url}/ui/jobs/{job}")  # its stream of events goes on, so that the network never rests
        expect(page, "main .headline", "Waiting: picture")
        fits(page)
        page.get_by_role("button", name="Cancel", exact=True).click()
        assert stack.get(f"/v1/jobs/{job}")["status"] == "QUEUED"
        page.get_by_role("button", name="Cancel it? What has not run stays without an answer").click()
        expect(page, "h1 .state", "cancelled")
        expect(page, "main .calm", "It was cancelled; pictures that had not run have no answer.")
        assert stack.get(f"/v1/jobs/{job}")["status"] == "CANCELLED"
        assert page.get_by_role("button", name="Cancel").count() == 0
        assert page.get_by_role("button", name=re.compile("again")).count() == 0
        assert (overflow(page), violations(page)) == (0, [])
        row = browsing.open(f"{stack.url}/ui/jobs?status=CANCELLED").locator(f"a[href='/ui/jobs/{job}']")
        assert row.locator(".state").inner_text() == "cancelled"
    assert stack.finished(job, 20)["status"] == "CANCELLED"


def test_a_job_that_does_not_exist_says_so_with_a_way_back(stack: Stack, browsing: Browsing) -> None:
    browsing.expect("404")
    page = browsing.open(f"{stack.url}/ui/jobs/nowhere")
    expect(page, "[role=alert]", "There is no job nowhere.")
    assert page.get_by_role("link", name="All jobs").get_attribute("href") == "/ui/jobs"


def test_everything_is_reached_by_the_keyboard(stack: Stack, jobs: dict[str, str], browsing: Browsing) -> None:
    names = tabs(browsing.open(f"{stack.url}/ui/jobs"), 40)
    choices = [
        name.splitlines()[0] for name in names if name.startswith(("all\n", "all models", "all wires", "any time"))
    ]
    assert choices == ["all", "all models", "all wires", "any time"]
    assert any("digit_7.png" in name for name in names)
    page = browsing.open(f"{stack.url}/ui/jobs/{jobs['mixed']}")
    names = tabs(page, 40)
    for wanted in ("Run 1 failed picture again", "Download as CSV", "Delete"):
        assert wanted in names
    page.locator(".outcomes .shot").first.focus()
    page.keyboard.press("Enter")
    page.get_by_role("dialog").wait_for()
