"""The reference in Chromium: calls are found, have addresses, and can be tried."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from tests.pages.browsing import Browsing, overflow, tabs, violations
from tests.stacks import SAMPLES, Stack

if TYPE_CHECKING:
    from playwright.sync_api import Page


def opened(browsing: Browsing, stack: Stack, path: str, **options: str) -> Page:
    """Return the page when it has been built from the document, which takes a busy machine a while."""
    page = browsing.open(stack.url + path, **options)
    page.locator(".call").first.wait_for(state="attached")
    return page


def found(page: Page) -> list[str]:
    """Return the methods and paths of the calls that are shown."""
    calls = [call.inner_text().split() for call in page.locator(".call > summary").all() if call.is_visible()]
    return [" ".join(words[:2]) for words in calls]


def written(document: dict[str, Any], operation: str) -> str:
    """Return what the document says of a call and of its body, in small letters."""
    entries = document["paths"].items()
    ((path, call),) = [
        (path, call) for path, entry in entries for call in entry.values() if call["operationId"] == operation
    ]
    named = re.findall(r"#/components/schemas/(\w+)", json.dumps(call.get("requestBody", {})))
    return json.dumps([path, call, [document["components"]["schemas"][name] for name in named]]).lower()


def test_every_call_is_listed_below_its_wire(browsing: Browsing, stack: Stack) -> None:
    page = opened(browsing, stack, "/docs")
    document = stack.get("/openapi.json")
    assert page.locator(".wire h2").all_inner_texts() == ["Native", "Wires of other services", "Operation"]
    tags = [tag["name"] for tag in document["tags"] if tag["name"] != "Pages"]
    assert page.locator(".tag > summary b").all_inner_texts() == tags
    calls = [call for path in document["paths"].values() for call in path.values() if call["tags"] != ["Pages"]]
    listed = page.locator(".call").evaluate_all("all => all.map((one) => one.id)")
    assert set(listed) <= {call["operationId"] for call in calls}
    same = {(method, call["summary"], call["description"]) for path in document["paths"].values()
            for method, call in path.items() if call["tags"] != ["Pages"]}  # fmt: skip
    assert len(listed) == len(same)


def test_the_calls_are_folded_so_that_few_stops_lead_through_the_page(browsing: Browsing, stack: Stack) -> None:
    page = opened(browsing, stack, "/docs")
    assert found(page) == []
    assert len(tabs(page)) < 45
    assert int(page.evaluate("document.documentElement.scrollHeight")) < 3000


def test_a_search_shows_the_calls_with_all_its_words(browsing: Browsing, stack: Stack) -> None:
    page = opened(browsing, stack, "/docs")
    page.keyboard.press("/")
    page.keyboard.type("explanations Show")
    page.locator("#found", has_text="1 call").wait_for()
    assert found(page) == ["GET /v1/jobs/{job_id}/explanations/{position}"]
    page.get_by_label("Search the calls").fill("heat map")
    page.locator("#found", has_text="calls").wait_for()
    for call in page.locator(".call:not([hidden])").all():
        texts = written(stack.get("/openapi.json"), str(call.get_attribute("id")))
        assert "heat" in texts
        assert "map" in texts
    page.get_by_label("Search the calls").fill("nothing like this")
    page.get_by_text("No call has all of these words.").wait_for()
    assert found(page) == []
    page.get_by_label("Search the calls").fill("")
    page.locator(".wire:not([hidden])").nth(2).wait_for()
    assert found(page) == []


def test_a_search_is_in_the_address(browsing: Browsing, stack: Stack) -> None:
    page = opened(browsing, stack, "/docs?q=cancel+job")
    assert "POST /v1/jobs/{job_id}/cancel" in found(page)
    page.get_by_label("Search the calls").fill("canary")
    page.wait_for_url("**/docs?q=canary")


def test_a_call_has_an_address_that_opens_it_and_leads_back(browsing: Browsing, stack: Stack) -> None:
    page = opened(browsing, stack, "/docs#submitJob")
    call = page.locator("#submitJob")
    assert call.locator(".curl").is_visible()
    assert page.evaluate("document.activeElement.parentElement.id") == "submitJob"
    page.locator("#getJob > summary").click()
    page.wait_for_url("**#getJob")
    page.go_back()
    page.locator("#submitJob[open]").wait_for()
    assert page.locator("#getJob[open]").count() == 0
    page.go_forward()
    page.locator("#getJob[open]").wait_for()


def test_a_call_can_be_tried(browsing: Browsing, stack: Stack) -> None:
    page = opened(browsing, stack, "/docs#classify")
    call = page.locator("#classify")
    call.locator(".try > summary").click()
    call.locator("input[type=file]").set_input_files(SAMPLES / "digit_7.png")
    assert call.locator(".curl pre").inner_text() == f"curl -F files=@digit_7.png {stack.url}/v1/classify"
    call.get_by_role("button", name="Send").click()
    call.locator(".answer .bar").first.wait_for()
    assert call.locator(".answer .bar .label").first.inner_text() == "7"
    assert call.locator(".said b").inner_text().startswith("200")
    assert violations(page) == []


def test_an_open_call_fits_a_phone(browsing: Browsing, stack: Stack) -> None:
    page = opened(browsing, stack, "/docs#addModel", screen="phone", scheme="dark")
    page.locator("#addModel .try > summary").click()
    page.locator("#addModel .fold > summary", has_text="Parameters").click()
    assert overflow(page) == 0
    assert violations(page) == []
