"""Every page: it fits every screen, breaks no rule of accessibility, dark or light, and is not left empty."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import httpx
import pytest

from tests import stacks
from tests.long import rest_long
from tests.pages.browsing import LOADED, Browsing, fits, overflow, show, tabs, violations
from tests.stacks import Stack

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

PAGES = (
    "/", "/docs", "/ui/jobs", "/ui/fleet", "/ui/models", "/ui/models/digits", "/ui/models/digits/versions/1",
    "/ui/models/digits/suggestions", "/ui/datasets", "/ui/trainings", "/ui/webhooks", "/ui/keys", "/ui/nowhere",
)  # fmt: skip


@pytest.mark.parametrize("path", PAGES)
def test_a_page_fits_each_screen_and_breaks_no_rule(browsing: Browsing, stack: Stack, path: str) -> None:
    browsing.expect("/ui/nowhere.*404")
    page = browsing.open(stack.url + path)
    fits(page)


def test_the_menu_of_a_small_screen_opens_and_breaks_no_rule(browsing: Browsing, stack: Stack) -> None:
    page = browsing.open(stack.url, screen="phone")
    page.get_by_role("button", name="Menu").click()
    page.get_by_role("link", name="Datasets").wait_for()
    assert overflow(page) == 0
    assert violations(page) == []


def test_the_first_stop_of_the_keyboard_skips_to_the_content(browsing: Browsing, stack: Stack) -> None:
    page = browsing.open(stack.url)
    assert tabs(page, 1) == ["Skip to the content"]
    page.keyboard.press("Enter")
    page.wait_for_function("document.activeElement.id === 'top'")


@pytest.mark.parametrize(
    "path", ["/ui/datasets/404", "/ui/trainings/404", "/ui/models/404", "/ui/models/digits/versions/404"]
)
def test_what_does_not_exist_is_said_on_its_page(browsing: Browsing, stack: Stack, path: str) -> None:
    browsing.expect("404")
    page = browsing.open(stack.url + path)
    assert page.get_by_role("alert").get_by_role("heading").inner_text() == "Not found"
    assert violations(page) == []


LISTS = ["jobs", "models", "models/digits/suggestions", "datasets", "trainings", "keys", "webhooks"]
AWAY = "The database does not answer. Try again in 5 seconds."


@pytest.mark.parametrize(("status", "why"), rest_long([(503, AWAY), (0, "The service does not answer")]))
@pytest.mark.parametrize("path", LISTS)
def test_a_service_that_is_away_is_said_and_asked_again(
    browsing: Browsing, stack: Stack, path: str, status: int, why: str
) -> None:
    def refuse(route: Route) -> None:
        if status:
            route.fulfill(status=status, json={"status": status, "detail": AWAY, "code": "unavailable"})
        else:
            route.abort()

    browsing.expect("ERR_FAILED|503")
    page = browsing.open("about:blank")
    page.route("**/v1/**", refuse)
    page.goto(f"{stack.url}/ui/{path}")
    alert = page.get_by_role("alert")
    alert.wait_for()
    assert page.locator("[role=alert]:visible").count() == 1
    assert why in alert.inner_text()
    show(page, "phone", "dark")
    assert (overflow(page), violations(page)) == (0, [])
    page.unroute("**/v1/**")
    alert.get_by_role("button", name="Try again").click()
    alert.wait_for(state="detached")
    page.wait_for_function(LOADED)
    assert page.locator("#content").inner_text() != ""


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, dict[str, str]]]:
    """A stack that requires keys, and the keys of each scope."""
    with stacks.running(tmp_path_factory.mktemp("guarded") / "data", "--workers", "1") as running:
        made: dict[str, str] = {}
        for scopes in (["infer", "models", "keys"], ["infer"], ["models"]):
            headers = {"x-api-key": made["infer models keys"]} if made else {}
            answer = httpx.post(f"{running.url}/v1/keys", json={"scopes": scopes}, headers=headers)
            made[" ".join(scopes)] = answer.raise_for_status().json()["key"]
        yield running, made


def shown(page: Page) -> list[str]:
    return [link.inner_text() for link in page.locator("nav.pages a").all() if link.is_visible()]


def test_without_a_key_a_page_asks_for_it_and_goes_on_when_it_is_there(
    browsing: Browsing, guarded: tuple[Stack, dict[str, str]]
) -> None:
    browsing.expect("401")
    stack, keys = guarded
    page = browsing.open(stack.url)
    page.get_by_role("button", name="Enter the key").click()
    page.keyboard.type(keys["infer"])
    page.locator("#answer .card").wait_for(state="detached")
    page.locator("input[type=file]").first.set_input_files(stacks.SAMPLES / "digit_7.png")
    page.locator(".timing").wait_for()
    assert page.locator("#answer h2").inner_text() == "7"


def test_a_page_shows_only_what_the_key_may_do(browsing: Browsing, guarded: tuple[Stack, dict[str, str]]) -> None:
    stack, keys = guarded
    everything = ["Try it", "Jobs", "Fleet", "Models", "Datasets", "Trainings", "Webhooks", "Keys", "Reference"]
    assert shown(browsing.open(stack.url, key=keys["infer models keys"])) == everything
    page = browsing.open(stack.url, key=keys["models"])
    page.locator("main", has_text="lacks the scope infer").wait_for()
    assert shown(page) == [*everything[2:6], "Reference"]
    assert not page.locator(".chooser").is_visible()
    browsing.open(f"{stack.url}/ui/datasets", key=keys["models"]).locator(".create").wait_for()
    assert not browsing.open(f"{stack.url}/ui/datasets", key=keys["infer"]).locator(".create").is_visible()
    for change in ("Add", "Drop weights here"):
        url = f"{stack.url}/ui/models"
        browsing.open(url, key=keys["models"]).get_by_text(change, exact=True).wait_for()
        assert not browsing.open(url, key=keys["infer"]).get_by_text(change, exact=True).is_visible(), change
