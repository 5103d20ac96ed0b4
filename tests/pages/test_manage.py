"""The pages of keys and webhooks in Chromium: keys from the first on, limits, callbacks, and the receivers of these."""

from __future__ import annotations

import io
import re
import shlex
import subprocess
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from PIL import Image

from tests import stacks
from tests.pages.browsing import Browsing, fits, tabs, violations
from tests.stacks import Stack, until
from tests.webhook_receivers import Receiver, receiving

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack of its own: these tests close its door, and its callbacks go to receivers on this machine."""
    data = tmp_path_factory.mktemp("manage") / "data"
    with stacks.running(data, "--workers", "1", INFERQ_WEBHOOK_PRIVATE="true") as running:
        yield running


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with receiving() as hook:
        yield hook


def called(stack: Stack, url: str, headers: dict[str, str] | None = None) -> str:
    """Return the id of a job that has ended and called the URL back."""
    name, data = stacks.digits()[7]
    answer = httpx.post(
        f"{stack.url}/v1/jobs", files={"files": (name, data)}, data={"model": "digits", "webhook": url}, headers=headers
    )
    return str(answer.raise_for_status().json()["_id"])


def delivery(stack: Stack, job_id: str) -> dict[str, Any]:
    """Return the delivery of a job; nothing while the job has not ended."""
    found = stack.get(f"/v1/webhooks/deliveries?job_id={job_id}")["deliveries"]
    return dict(found[0]) if found else {}


# -- webhooks: first, while the stack needs no key


def test_the_command_of_an_empty_page_makes_the_first_callback(
    stack: Stack, receiver: Receiver, browsing: Browsing, tmp_path: Path
) -> None:
    page = browsing.open(f"{stack.url}/ui/webhooks")
    command = page.locator(".empty pre").inner_text()
    fits(page)
    (tmp_path / "photo.jpg").write_bytes(stacks.digits()[5][1])
    here = command.replace("http://example.org/hook", receiver.url)
    subprocess.run(shlex.split(here), cwd=tmp_path, check=True, capture_output=True, timeout=30)
    assert receiver.wait_for_calls(1)
    page.reload()
    page.locator(".delivery .state.done").wait_for()


def test_a_delivery_tells_all_that_is_known_of_it_and_is_sent_again(
    stack: Stack, receiver: Receiver, browsing: Browsing
) -> None:
    job_id = called(stack, receiver.url)
    assert receiver.wait_for_calls(1)
    until(lambda: delivery(stack, job_id).get("status") == "DELIVERED", 20)
    page = browsing.open(f"{stack.url}/ui/webhooks")
    row = page.locator("li", has=page.locator(".delivery")).first
    row.locator("summary").focus()
    page.keyboard.press("Enter")
    told = row.inner_text()
    assert delivery(stack, job_id)["body_sha256"] in told
    assert "answered 200" in told
    assert row.get_by_role("link").get_attribute("href") == f"/ui/jobs/{job_id}"
    fits(page)
    row.get_by_role("button", name="Send it again").click()
    assert receiver.wait_for_calls(1)


def test_the_failed_are_found_by_their_status_and_all_sent_again(stack: Stack, browsing: Browsing) -> None:
    with receiving(410) as gone:
        ids = [called(stack, gone.url) for _ in range(2)]
        until(lambda: all(delivery(stack, each).get("status") == "FAILED" for each in ids), 30)
        page = browsing.open(f"{stack.url}/ui/webhooks")
        page.get_by_label("Status").select_option("failed")
        page.locator(".delivery .state.done").first.wait_for(state="detached")
        assert page.url.endswith("?status=FAILED")
        assert page.locator(".delivery").count() == 2
        assert "answered 410, so it is not called again" in page.locator(".delivery").first.inner_text()
        gone.status = 200
        calls: list[str] = []
        page.on("request", lambda sent: calls.append(sent.url) if sent.method == "POST" else None)
        page.get_by_role("button", name="Send all failed again").click()
        page.get_by_role("button", name="Send every failed one again?").click()
        page.get_by_text("2 callbacks sent again.").wait_for()
        assert calls == [f"{stack.url}/v1/webhooks/deliveries/resend"]  # however many there are
        until(lambda: all(delivery(stack, each).get("status") == "DELIVERED" for each in ids), 30)
        page.get_by_role("button", name="Show all deliveries").click()
        page.locator(".delivery").nth(2).wait_for()


def test_a_ping_tells_the_answer_and_its_time(stack: Stack, receiver: Receiver, browsing: Browsing) -> None:
    page = browsing.open(f"{stack.url}/ui/webhooks")
    page.get_by_label("URL").fill(receiver.url)
    page.keyboard.press("Enter")
    page.get_by_text(re.compile(r"answered 200 after \d+ ms, unsigned")).wait_for()
    assert receiver.calls[-1][1].startswith(b'{"type":"webhook.ping"')
    with receiving(500) as broken:
        page.get_by_label("URL").fill(broken.url)
        page.get_by_label("Secret", exact=True).fill("s3cret")
        page.keyboard.press("Enter")
        page.get_by_text(re.compile(r"answered 500 after \d+ ms, with 1 signature")).wait_for()
    assert page.locator(".came .state").inner_text() == "not received"


def test_a_new_secret_is_shown_once_with_the_end_of_the_one_before(stack: Stack, browsing: Browsing) -> None:
    page = browsing.open(f"{stack.url}/ui/webhooks")
    page.get_by_label("The one before it signs as well").select_option("for an hour")
    for label in ("Make a new secret", "Make it? It signs from now on"):
        page.get_by_role("button", name=label).click()
    assert page.locator(".once pre").inner_text().startswith("whsec_")
    page.get_by_role("button", name="Copy").click()
    page.get_by_role("button", name="Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == page.locator(".once pre").inner_text()
    assert violations(page) == []
    page.get_by_role("button", name="Put it away").click()
    assert page.locator(".once").count() == 0


# -- pictures of any format


def test_the_pictures_of_an_archive_are_shown_whatever_their_format_is(stack: Stack, browsing: Browsing) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as zipped:
        for kind, name in (("TIFF", "scan.tiff"), ("PNG", "plain.png")):
            file = io.BytesIO()
            Image.effect_noise((400, 300), 60).save(file, kind)
            zipped.writestr(name, file.getvalue())
    job = stack.submit([("some.zip", archive.getvalue())], model="digits")
    page = browsing.open(f"{stack.url}/ui/jobs/{stack.finished(job['_id'], 60)['_id']}")
    page.locator(".outcomes img").nth(1).wait_for()
    assert [
        page.locator(".outcomes img").nth(number).evaluate("image => [image.naturalWidth, image.naturalHeight]")
        for number in range(2)
    ] == [[320, 240]] * 2
    page.locator(".outcomes .shot", has_text="scan.tiff").click()
    image = page.get_by_role("dialog").get_by_alt_text("The picture that was sent")
    until(lambda: image.count() == 1 and bool(image.evaluate("image => image.naturalWidth === 400")), 10)
    page.keyboard.press("Escape")
    page.route("**/thumbnail?side=1280", lambda route: route.fulfill(status=204))
    page.locator(".outcomes .shot", has_text="scan.tiff").click()
    page.get_by_role("dialog").get_by_text("it is damaged, or too large for that").wait_for()


# -- keys


def made(page: Page) -> str:
    """Make the key that the form describes; return its text, which the page shows once."""
    page.get_by_role("button", name="Make the key").click()
    return shown(page)


def shown(page: Page) -> str:
    return page.locator(".once pre").inner_text()


@pytest.fixture(scope="module")
def owner(stack: Stack, browser: Browsing) -> str:
    """The first key, which closes the door: made on the page, and then used in its tab."""
    browser.expect("401")
    page = browser.open(f"{stack.url}/ui/keys")
    assert page.locator(".empty pre").inner_text() == "inferq keys create --name owner"
    assert [box.is_checked() for box in page.get_by_role("checkbox").all()] == [True] * 3
    page.get_by_label("Name").fill("owner")
    assert page.get_by_label("It is valid").count() == 0  # the first one makes the others, and does not expire
    key = made(page)
    page.get_by_role("button", name="Use it in this tab").click()
    page.locator(".key-row", has_text="owner").wait_for()
    assert shown(page) == key
    return key


def test_the_first_key_is_made_on_the_page_and_closes_the_door(stack: Stack, owner: str) -> None:
    assert httpx.get(f"{stack.url}/v1/keys").status_code == 401
    (first,) = httpx.get(f"{stack.url}/v1/keys", headers={"x-api-key": owner}).json()["keys"]
    assert (first["name"], first["tenant"], first["scopes"]) == ("owner", "default", ["infer", "models", "keys"])


def test_a_key_is_made_for_a_tenant_and_revoked_after_a_second_click(
    stack: Stack, owner: str, browsing: Browsing
) -> None:
    page = browsing.open(f"{stack.url}/ui/keys", key=owner)
    page.get_by_label("Name").fill("app")
    page.get_by_label("Tenant", exact=True).fill("acme")
    page.get_by_role("checkbox", name="models").uncheck()
    text = made(page)
    headers = {"x-api-key": text}
    told = httpx.get(f"{stack.url}/v1/keys/current", headers=headers).json()
    assert (told["tenant"], told["scopes"]) == ("acme", ["infer"])
    row = page.locator(".key-row", has_text="app")
    row.wait_for()
    assert text not in row.inner_text()
    fits(page)
    row.get_by_role("button", name="Revoke").click()
    row.get_by_role("button", name="Revoke it for good?").click()
    row.wait_for(state="hidden")
    assert httpx.get(f"{stack.url}/v1/keys/current", headers=headers).status_code == 401
    page.get_by_text("1 revoked key").click()
    assert page.locator(".key-row", has_text="app").is_visible()


def test_a_key_is_made_with_an_expiry_and_the_list_marks_what_ends(
    stack: Stack, owner: str, browsing: Browsing
) -> None:
    page = browsing.open(f"{stack.url}/ui/keys", key=owner)
    page.get_by_label("Name").fill("for a month")
    page.get_by_label("It is valid").select_option("for 30 days")
    assert page.get_by_label("Its last day").is_hidden()
    made(page)
    row = page.locator(".key-row", has_text="for a month")
    row.wait_for()
    assert re.search(r"never used\s+expires in 30 days", row.inner_text())
    page.get_by_label("Name").fill("for three days")
    page.get_by_label("It is valid").select_option("until a day …")
    last = datetime.now().astimezone() + timedelta(days=3)
    page.get_by_label("Its last day").fill(f"{last:%Y-%m-%d}")
    made(page)
    row = page.locator(".key-row", has_text="for three days")
    row.wait_for()
    assert re.search(r"expires soon, in [34] days", row.inner_text())
    listed = httpx.get(f"{stack.url}/v1/keys", headers={"x-api-key": owner}).json()["keys"]
    ends = next(key["expires"] for key in listed if key["name"] == "for three days")
    zone = page.evaluate("new Date().getTimezoneOffset()")
    midnight = datetime(last.year, last.month, last.day, tzinfo=UTC) + timedelta(days=1, minutes=zone)
    assert datetime.fromisoformat(ends) == midnight
    fits(page)


def test_the_list_tells_in_words_what_has_expired_and_what_is_used(
    stack: Stack, owner: str, browsing: Browsing
) -> None:
    key: dict[str, Any] = {"tenant": "acme", "prefix": "iq_abcde", "scopes": ["infer"], "stage": "live", "account": "",
           "created_at": at(-90), "revoked_at": None, "expires": None, "last_used": at(-2)}  # fmt: skip
    told: list[tuple[dict[str, Any], str]] = [
        ({"name": "lasting"}, "used 2 days ago does not expire"),
        ({"name": "dead", "last_used": None}, "never used does not expire"),
        ({"name": "ending", "expires": at(6)}, "used 2 days ago expires soon, in 6 days"),
        ({"name": "ended", "expires": at(-1.1)}, "used 2 days ago expired yesterday"),
        ({"name": "revoked", "expires": at(6), "revoked_at": at(-1.1)}, "used 2 days ago revoked yesterday"),
    ]
    page = browsing.open(f"{stack.url}/ui/keys", key=owner)
    page.route("**/v1/keys", lambda route: route.fulfill(
        json={"keys": [key | about | {"id": about["name"]} for about, _ in told]}))  # fmt: skip
    page.reload()
    page.get_by_text("1 revoked key").click()
    for about, says in told:
        row = page.locator(".key-row", has=page.get_by_text(str(about["name"]), exact=True))
        assert " ".join(row.locator(".life").inner_text().split()) == says
    fits(page)


def at(days: float) -> str:
    """Return the time in so many days in RFC 3339."""
    return (datetime.now(UTC) + timedelta(days=days)).isoformat()


def test_a_key_that_has_expired_is_told_apart_from_a_wrong_one(stack: Stack, owner: str, browsing: Browsing) -> None:
    browsing.expect("401")
    headers = {"x-api-key": owner}
    ends = datetime.now(UTC).timestamp() + 1.0
    answer = httpx.post(f"{stack.url}/v1/keys", json={"expires": ends}, headers=headers).raise_for_status()
    key = answer.json()["key"]
    current = f"{stack.url}/v1/keys/current"
    until(lambda: httpx.get(current, headers={"x-api-key": key}).status_code == 401, 20)
    page = browsing.open(f"{stack.url}/ui/jobs", key=key)
    assert page.get_by_role("alert").get_by_role("heading").inner_text() == "This key has expired"
    assert "inferq keys create" in page.get_by_role("alert").inner_text()


def test_a_key_gives_nothing_that_it_lacks_and_at_least_one_scope(stack: Stack, owner: str, browsing: Browsing) -> None:
    answer = httpx.post(
        f"{stack.url}/v1/keys", json={"tenant": "bert", "scopes": ["infer", "keys"]}, headers={"x-api-key": owner}
    )
    page = browsing.open(f"{stack.url}/ui/keys", key=answer.json()["key"])
    page.locator(".tenant h3").wait_for()
    assert [box.is_enabled() for box in page.get_by_role("checkbox").all()] == [True, False, True]
    assert page.get_by_label("Tenant", exact=True).count() == 0
    assert [tenant.inner_text() for tenant in page.locator(".tenant h3").all()] == ["bert"]
    assert page.get_by_text("Set limits", exact=True).count() == 0
    page.get_by_role("checkbox", name="infer").uncheck()
    page.get_by_role("button", name="Make the key").click()
    page.get_by_text("Tick what the key may do.").wait_for()


def test_the_last_key_that_makes_others_stays_and_the_page_says_why(
    stack: Stack, owner: str, browsing: Browsing
) -> None:
    browsing.expect("409")
    page = browsing.open(f"{stack.url}/ui/keys", key=owner)
    row = page.locator(".key-row", has_text="owner")
    row.get_by_role("button", name="Revoke").click()
    row.get_by_role("button", name="Revoke it for good?").click()
    row.get_by_text("Make a key that does not expire first").wait_for()


def test_a_tenant_shows_what_it_uses_of_what_it_may_and_is_limited(
    stack: Stack, owner: str, browsing: Browsing
) -> None:
    headers = {"x-api-key": owner}
    httpx.post(f"{stack.url}/v1/keys", json={"tenant": "dora", "scopes": ["infer"]}, headers=headers).raise_for_status()
    page = browsing.open(f"{stack.url}/ui/keys", key=owner)
    dora = page.locator(".tenant", has=page.get_by_role("heading", name="dora"))
    assert "0 bytes, no limit" in dora.inner_text()
    dora.get_by_text("Set limits").click()
    dora.get_by_label("Kept in all, at most", exact=True).fill("1.5")
    dora.get_by_label("Ended jobs are kept for", exact=True).fill("12")
    dora.get_by_label("Ended jobs are kept for: unit").select_option("hours")
    dora.get_by_role("button", name="Set", exact=True).click()
    dora.get_by_text("0 bytes of 1.5 GiB").wait_for()
    assert "each kept for 12 hours" in dora.inner_text()
    limits = httpx.get(f"{stack.url}/v1/tenants/dora/limits", headers=headers).json()
    assert (limits["max_bytes"], limits["keep_jobs"], limits["max_queued"]) == (3 * 2**29, 43_200, None)
    dora.get_by_text("Set limits").click()
    fits(page)


def test_a_door_that_is_closed_without_a_valid_key_is_not_called_open(
    stack: Stack, owner: str, browsing: Browsing
) -> None:
    past = [
        {**each, "revoked_at": each["created_at"]}
        for each in httpx.get(f"{stack.url}/v1/keys", headers={"x-api-key": owner}).json()["keys"]
    ]
    page = browsing.open(f"{stack.url}/ui/keys", key=owner)
    answer: dict[str, object] = {}
    page.route("**/v1/keys", lambda route: route.fulfill(json=answer))
    for stored, says in (([], "No key is stored yet."), (past, "No key is valid any more.")):
        answer["keys"] = stored
        page.reload()
        page.get_by_text(says).wait_for()
        page.get_by_role("button", name="Make the key").wait_for()
        text = page.locator("#content").inner_text()
        assert "may do anything" not in text
        assert "It is the first key" not in text


def test_everything_on_the_page_of_keys_is_reached_by_the_keyboard(
    stack: Stack, owner: str, browsing: Browsing
) -> None:
    names = tabs(browsing.open(f"{stack.url}/ui/keys", key=owner), 60)
    for wanted in ("Revoke", "Make the key", "Set limits"):
        assert wanted in names


def test_a_key_without_the_scope_is_told_so(stack: Stack, owner: str, browsing: Browsing) -> None:
    browsing.expect("403")
    headers = {"x-api-key": owner}
    answer = httpx.post(f"{stack.url}/v1/keys", json={"scopes": ["infer"]}, headers=headers)
    page = browsing.open(f"{stack.url}/ui/keys", key=answer.json()["key"])
    assert page.get_by_role("alert").get_by_role("heading").inner_text() == "This key lacks the permission"
    assert page.get_by_role("button", name="Make the key").count() == 0
    page = browsing.open(f"{stack.url}/ui/webhooks", key=answer.json()["key"])
    page.get_by_role("button", name="Ping").wait_for()
    assert not page.get_by_role("button", name="Make a new secret").is_visible()
