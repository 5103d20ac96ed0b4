"""The page of the fleet in Chromium: what is wrong and its cure, workers, and charts that pointer and keys read."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from shared.adapters.database import tables
from shared.adapters.database.unit_of_work import Database
from shared.domain.history import Counted, Measure, minute_of
from tests.pages.browsing import Browsing, fits, show
from tests.picture_files import truncated_png
from tests.stacks import Stack, digits, until

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.slow
SPILT = "all => all.filter((one) => one.scrollWidth > one.clientWidth).map((one) => one.innerText)"
"""The texts of the elements that are wider than their place."""


@pytest.fixture
def history(stack: Stack) -> dict[int, int]:
    """Minutes ago -> pictures that were answered then, as workers have counted them."""
    now = minute_of(time.time())
    counts = {ago: 600 + 10 * ago for ago in range(5, 50)}
    database = Database(f"sqlite:///{stack.data}/inferq.db")
    with database.write() as uow:
        for ago, count in counts.items():
            uow.history.set({
                Counted(now - ago, "default", "v", Measure.ANSWERED, 20): count,
                Counted(now - ago, "default", "v", Measure.BATCH, 8): count,
                Counted(now - ago, "default", "v", Measure.ARRIVED): count,
                Counted(now - ago, "", "", Measure.WORKERS): 1,
            })  # fmt: skip
    database.close()
    return counts


def test_the_fleet_shows_its_worker_and_that_nothing_else_waits(stack: Stack, browsing: Browsing) -> None:
    page = browsing.open(f"{stack.url}/ui/fleet")
    (worker,) = stack.get("/v1/workers")["workers"]
    card = page.locator(".machine", has_text="digits 1").first
    card.wait_for()  # its heartbeat names the model once it is loaded
    assert "-".join(worker["id"].split("-")[-2:]) in card.inner_text()
    assert "torch float32 on cpu" in card.inner_text()
    assert re.search(r"[\d.]+ (MiB|GiB)", card.inner_text())


def test_what_is_wrong_is_said_with_its_cure(stack: Stack, browsing: Browsing) -> None:
    job = stack.submit([("torn.png", truncated_png())], model="digits")
    stack.finished(job["_id"], 60)
    page = browsing.open(f"{stack.url}/ui/fleet")
    check = page.locator(".check", has_text="got no answer")
    check.wait_for()
    assert "inferq jobs replay" in check.inner_text()


@pytest.fixture
def silent(stack: Stack) -> Iterator[str]:
    """A receiver that has not answered a callback, whose next attempt is in ten minutes; its host with the port."""
    host = f"{'-'.join(['receiver'] * 6)}.example.org:8443"
    job = stack.submit(digits()[:1], model="digits")
    stack.finished(job["_id"], 60)
    database = Database(f"sqlite:///{stack.data}/inferq.db")
    waits = {"job_id": job["_id"], "attempts": 4, "error": "no answer", "due_at": time.time() + 600}
    with database.engine.begin() as connection:
        called = sa.update(tables.jobs).where(tables.jobs.c.id == job["_id"])
        connection.execute(called.values(webhook=f"https://{host}/s3cret"))
        connection.execute(sa.insert(tables.webhook_deliveries), waits)
    yield host
    with database.engine.begin() as connection:
        connection.execute(sa.delete(tables.webhook_deliveries).where(tables.webhook_deliveries.c.job_id == job["_id"]))
    database.close()


def test_a_receiver_that_takes_no_callbacks_is_named_on_every_screen(
    stack: Stack, silent: str, browsing: Browsing
) -> None:
    page = browsing.open(f"{stack.url}/ui/fleet")
    check = page.locator(".check", has_text="1 callback of the tenant default waits")
    check.wait_for()
    assert f"for https://{silent}, which has not answered since 20" in check.inner_text()
    assert "inferq webhooks resend ID" in check.inner_text()
    assert "s3cret" not in page.content()
    fits(page)


def cells(page: Page) -> list[list[str]]:
    """Return what the table of the queue says, its heads first."""
    rows = page.locator("table", has=page.get_by_text("oldest", exact=True)).locator("tr").all()
    return [row.locator("th, td").all_inner_texts() for row in rows]


def test_what_waits_is_told_by_model_and_priority_with_its_age(stack: Stack, browsing: Browsing) -> None:
    with stack.halted("worker-1"):
        jobs = [stack.submit(digits()[:2], model="digits", priority=priority) for priority in ("high", "low", "low")]
        page = browsing.open(f"{stack.url}/ui/fleet")
        page.get_by_role("row", name=re.compile("^digits 1 low 4 0")).wait_for()
        heads, *rows = cells(page)
        assert "6 pictures waiting, 0 running." in page.locator("main").inner_text()
    assert heads == ["model", "priority", "waiting", "running", "oldest"]
    assert [row[:4] for row in rows] == [["digits 1", "low", "4", "0"], ["digits 1", "high", "2", "0"]]
    assert all(re.fullmatch(r"\d+ ms|[\d.]+ s", row[4]) for row in rows), rows
    for job in jobs:
        stack.finished(job["_id"], 60)
    page.get_by_text("Nothing waits, and nothing runs.").wait_for()


LONG = "-".join(["photographs"] * 5)
"""A name with as many letters as the longest that people give."""


def test_the_queue_of_many_tenants_fits_every_screen_and_breaks_no_rule(stack: Stack, browsing: Browsing) -> None:
    waits = [
        {"tenant": "north", "model": LONG, "version": "12", "priority": "normal", "waiting": 1200, "running": 16,
         "oldest_seconds": 4.25},
        {"tenant": LONG, "model": "birds", "version": "2", "priority": "low", "waiting": 98765, "running": 0,
         "oldest_seconds": 7300.0},
        {"tenant": "south", "model": "digits", "version": "1", "priority": "high", "waiting": 0, "running": 0,
         "oldest_seconds": 0.0},
    ]  # fmt: skip
    page = browsing.open("about:blank")
    page.route("**/v1/queue?by=tenant", lambda route: route.fulfill(
        json={"queue": waits, "waiting": 99965, "running": 16}))  # fmt: skip
    page.goto(f"{stack.url}/ui/fleet")
    page.get_by_text("99,965 pictures waiting, 16 running.").wait_for()
    assert cells(page) == [
        ["model", "tenant", "priority", "waiting", "running", "oldest"],
        ["birds 2", LONG, "low", "98,765", "0", "2.0 h"],
        [f"{LONG} 12", "north", "normal", "1,200", "16", "4.3 s"],
    ]
    fits(page, lambda page: page.locator("table :is(th, td)").evaluate_all(SPILT))
    show(page, "phone", "light")
    region = page.get_by_role("region", name="Queue")
    region.evaluate("(one) => { one.focus(); one.scrollLeft = 60; }")
    waits[0]["running"] = 17
    region.get_by_text("17", exact=True).wait_for()  # also while it is read
    assert region.evaluate("(one) => [one === document.activeElement, one.scrollLeft]") == [True, 60]


def test_charts_fit_every_screen_and_break_no_rule(stack: Stack, history: dict[int, int], browsing: Browsing) -> None:
    page = browsing.open(f"{stack.url}/ui/fleet")
    page.locator(".chart .line").nth(5).wait_for(state="attached")  # a level line has no height
    fits(page)


def test_charts_are_read_with_pointer_and_keys(stack: Stack, history: dict[int, int], browsing: Browsing) -> None:
    page = browsing.open(f"{stack.url}/ui/fleet")
    chart = page.get_by_role("img", name=re.compile("^Pictures per second"))
    chart.wait_for()
    chart.focus()
    page.keyboard.press("ArrowLeft")
    reads = page.locator(".chart", has=chart).locator(".reads")
    before = reads.inner_text()
    page.keyboard.press("ArrowLeft")
    assert reads.inner_text() != before
    chart.hover()
    assert re.search(r"answered \d", reads.inner_text())


def test_latency_and_batch_sizes_are_told_in_words_too(
    stack: Stack, history: dict[int, int], browsing: Browsing
) -> None:
    stack.finished(stack.submit(digits()[:3], model="digits")["_id"], 60)
    until(lambda: stack.get("/v1/history?span=hour")["recent"]["latency"], 60, stack.output)
    page = browsing.open(f"{stack.url}/ui/fleet")
    half = page.locator(".stat", has_text="for half of the pictures")
    half.wait_for()
    most = page.locator(".stat", has_text="for 95 %")
    for told in (half.locator("b"), most.locator("b")):
        assert re.fullmatch(r"[\d.]+ m?s", told.inner_text())
    assert re.fullmatch(r"[\d.]+ m?s for 99 %", most.locator("small").inner_text())
    times = page.get_by_role("img", name=re.compile("^Time to the answer"))
    label = times.get_attribute("aria-label") or ""
    assert re.search(r"99 %: last .*at most .*; 95 %: last .*at most .*; half: last .*at most ", label), label
    sizes = page.get_by_role("img", name=re.compile("^Batch sizes"))
    counts = re.findall(r"([\d+]+): ([\d,]+) pictures", sizes.get_attribute("aria-label") or "")
    assert [name for name, _ in counts] == ["1", "2", "4", "8", "16", "32", "64", "65+"]
    counted = {name: int(count.replace(",", "")) for name, count in counts}
    assert counted["8"] >= sum(history.values())
    heights = [float(str(column.get_attribute("height"))) for column in sizes.locator("rect").all()]
    assert heights.index(max(heights)) == list(counted.values()).index(max(counted.values()))


def test_the_span_is_in_the_address(stack: Stack, history: dict[int, int], browsing: Browsing) -> None:
    page = browsing.open(f"{stack.url}/ui/fleet?span=day")
    day = page.get_by_role("button", name="Last day")
    day.wait_for()
    assert day.get_attribute("aria-pressed") == "true"
    page.get_by_role("button", name="Last hour").click()
    page.get_by_role("button", name="Last hour", pressed=True).wait_for()
    page.wait_for_url("**/ui/fleet")


def test_a_service_that_is_away_is_said_once_and_found_again(stack: Stack, browsing: Browsing) -> None:
    browsing.expect("ERR_INTERNET_DISCONNECTED")
    page = browsing.open(f"{stack.url}/ui/fleet")
    page.locator(".machine").first.wait_for()
    page.context.set_offline(True)
    page.get_by_role("alert").wait_for()
    assert page.get_by_role("alert").count() == 1
    assert "does not answer" in page.get_by_role("alert").inner_text()
    assert not page.locator(".machine").first.is_visible()
    page.context.set_offline(False)
    page.locator(".machine").first.wait_for()
    assert page.get_by_role("alert").count() == 0
