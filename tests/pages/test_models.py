"""The pages of models in Chromium: import by upload, versions side by side, labels, export, aliases, and refusals."""

from __future__ import annotations

import io
import re
import zipfile
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.pages.browsing import Browsing, fits, overflow, violations
from tests.stacks import SAMPLES, Stack, until

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def export(stack: Stack) -> bytes:
    """The zip of the digits model, which an import takes."""
    stack.finished(stack.submit([("7.png", (SAMPLES / "digit_7.png").read_bytes())], model="digits")["_id"], 60)
    return httpx.get(f"{stack.url}/v1/models/digits/versions/1/export", timeout=60).raise_for_status().content


def bring(stack: Stack, export: bytes, name: str, **fields: str) -> None:
    """Import the export under a name, as far as READY."""
    answer = httpx.post(
        f"{stack.url}/v1/models",
        files={"weights": ("digits.zip", export)},
        data={"name": name, **fields},
        timeout=60,
    )
    version = answer.raise_for_status().json()["version"]
    until(lambda: stack.get(f"/v1/models/{name}/versions/{version}")["state"] == "ready", 60, stack.output)


@pytest.fixture(scope="module")
def pair(stack: Stack, export: bytes) -> str:
    """The name of a model with two versions, the second of which has other labels and another preprocessing."""
    bring(stack, export, "pair")
    labels = "\n".join(["naught", "ace", *map(str, range(2, 10))])
    bring(stack, export, "pair", labels=labels, resize="48")
    return "pair"


def choose(page: Page, name: str, weights: bytes) -> Locator:
    """Hand a file to the import; return the form when it is there."""
    drop = page.get_by_label("Drop weights here")
    drop.set_input_files({"name": name, "mimeType": "application/octet-stream", "buffer": weights})
    form = page.locator(".importing form")
    form.wait_for()
    return form


def names(stack: Stack) -> list[str]:
    return [model["name"] for model in stack.get("/v1/models")["models"]]


def test_a_dropped_file_becomes_a_model_that_labels_its_check_pictures(
    stack: Stack, export: bytes, browsing: Browsing
) -> None:
    page = browsing.open(f"{stack.url}/ui/models")
    form = choose(page, "my numbers.zip", export)
    assert form.get_by_label("name", exact=True).input_value() == "my-numbers"
    form.get_by_text("Check pictures").click()
    form.locator("input[type=file][name=check]").set_input_files(SAMPLES / "digit_7.png")
    form.get_by_label("digit_7.png").fill("7")
    assert violations(page) == []
    form.get_by_role("button", name="Import").click()
    page.wait_for_url("**/ui/models/my-numbers/versions/1")
    page.locator("#hero .state.ready").wait_for()
    assert page.get_by_role("heading", level=2).all_inner_texts()[:3] == ["Evidence", "Engine", "Preprocessing"]
    page.get_by_role("button", name="Remove").click()
    dialog = page.get_by_role("dialog")
    assert "Requests that name my-numbers are refused from then on" in dialog.inner_text()
    assert violations(page) == []
    dialog.get_by_role("button", name="Remove the model").click()
    page.wait_for_url("**/ui/models")
    assert "my-numbers" not in names(stack)


def test_a_refused_import_says_why_and_marks_the_option_at_fault(
    stack: Stack, export: bytes, browsing: Browsing
) -> None:
    browsing.expect("400")
    page = browsing.open(f"{stack.url}/ui/models")
    form = choose(page, "unfit.zip", export)
    form.get_by_text("Preprocessing", exact=True).click()
    form.get_by_label("scale").fill("0")
    form.get_by_text("Preprocessing", exact=True).click()
    form.get_by_role("button", name="Import").click()
    alert = form.get_by_role("alert")
    assert "scale must be a factor" in alert.inner_text()
    scale = form.get_by_label("scale")  # its fold is open again
    assert scale.evaluate("(one) => [one.getAttribute('aria-invalid'), one === document.activeElement]") == [
        "true",
        True,
    ]
    assert "unfit" not in names(stack)


def test_the_import_has_every_option_of_the_call(stack: Stack, export: bytes, browsing: Browsing) -> None:
    page = browsing.open(f"{stack.url}/ui/models", screen="phone")
    form = choose(page, "any.onnx", export)
    shown = set(form.locator("[name]").evaluate_all("(all) => all.map((one) => one.name)"))
    document = stack.get("/openapi.json")
    assert shown >= set(document["components"]["schemas"]["ModelForm"]["properties"]) - {"weights", "check_label"}
    for fold in form.locator("details").all():
        fold.locator("summary").click()
    assert (overflow(page), violations(page)) == (0, [])


@pytest.mark.parametrize("path", ["", "/versions/2"])
def test_the_pages_of_a_model_fit_each_screen_and_break_no_rule(
    stack: Stack, pair: str, browsing: Browsing, path: str
) -> None:
    page = browsing.open(f"{stack.url}/ui/models/{pair}{path}")
    fits(page)


def test_versions_stand_side_by_side_with_what_differs(stack: Stack, pair: str, browsing: Browsing) -> None:
    page = browsing.open(f"{stack.url}/ui/models/{pair}")
    table = page.locator(".beside")
    table.wait_for()
    rows = {
        row.locator("th").inner_text(): row.locator("td").all_inner_texts() for row in table.locator("tbody tr").all()
    }
    assert rows["labels"] == ["10", "10\n+ naught, ace\n− 0, 1"]
    before = stack.get(f"/v1/models/{pair}/versions/1")["preprocessing"]["resize"]
    assert rows["resize"] == [str(before), "48"]
    assert "crop" not in rows  # it is the same
    assert all(re.fullmatch(r"[\d.]+ [KM]iB", size) for size in rows["weights"])
    page.get_by_role("group", name="Versions").get_by_label("2").uncheck()
    page.locator(".beside thead th").nth(1).wait_for(state="detached")
    assert page.url.endswith("?versions=1")
    page.reload()
    table.wait_for()
    assert table.locator("thead th").count() == 1


def test_labels_are_searched(stack: Stack, pair: str, browsing: Browsing) -> None:
    labels = [f"label {number}" for number in range(300)]
    page = browsing.open("about:blank")
    page.route("**/v1/models/pair/versions/2", lambda route: route.fulfill(json=long(route.fetch().json(), labels)))
    page.goto(f"{stack.url}/ui/models/{pair}/versions/2")
    page.get_by_label("Search the labels").fill("label 29")
    page.get_by_text("11 of 300 labels.").wait_for()
    assert page.locator(".label-names li").first.inner_text() == "label 29"
    assert page.locator(".label-names li").first.get_attribute("value") == "29"


def long(version: dict[str, Any], labels: list[str]) -> dict[str, Any]:
    return {**version, "labels": len(labels), "label_names": labels}


@pytest.mark.long
@pytest.mark.parametrize("kind", ["safetensors", "ONNX"])
def test_an_export_is_waited_for_and_saved(stack: Stack, pair: str, browsing: Browsing, kind: str) -> None:
    browsing.expect("409")  # while it is converted
    page = browsing.open(f"{stack.url}/ui/models/{pair}/versions/2")
    with page.expect_download(timeout=60_000) as download:
        page.get_by_role("button", name=f"Export as {kind}").click()
    name = f"pair-2-{kind.lower()}.zip"
    assert download.value.suggested_filename == name
    packed = zipfile.ZipFile(io.BytesIO(download.value.path().read_bytes()))
    assert f"model.{kind.lower()}" in packed.namelist()
    assert page.get_by_role("link", name=name).get_attribute("download") == name
    assert download.value.url.startswith(f"{stack.url}/v1/models/pair/versions/2/export?")  # no blob: of the page


def test_an_export_that_is_not_ready_is_asked_for_again(stack: Stack, pair: str, browsing: Browsing) -> None:
    browsing.expect("409")
    page = browsing.open(f"{stack.url}/ui/models/{pair}/versions/1")
    answers = iter([{"status": 409, "json": {"detail": "It is being converted.", "code": "model_not_ready"}}])

    def first_not_ready(route: Any) -> None:
        answer = next(answers, None)
        if answer:
            route.fulfill(**answer)
        else:
            route.continue_()

    page.route("**/export/link", first_not_ready)
    with page.expect_download():
        page.get_by_role("button", name="Export as safetensors").click()
        page.get_by_text("It is being converted.").wait_for()


def test_an_alias_is_added_moved_and_removed_with_what_it_changes(stack: Stack, pair: str, browsing: Browsing) -> None:
    page = browsing.open(f"{stack.url}/ui/models")
    page.get_by_label("Alias", exact=True).fill("google/vit")
    page.locator("form.alias select").select_option("digits")
    page.get_by_role("button", name="Add", exact=True).click()
    page.get_by_role("button", name="Move google/vit", exact=True).click()
    dialog = page.get_by_role("dialog")
    assert "answered by digits now" in dialog.inner_text()
    dialog.get_by_label("Model").select_option(pair)
    assert violations(page) == []
    dialog.get_by_role("button", name="Move it").click()
    dialog.wait_for(state="hidden")
    assert stack.get("/v1/aliases")["aliases"] == [{"alias": "google/vit", "model": pair}]
    page.get_by_role("button", name="Remove google/vit").click()
    assert "The model pair stays" in dialog.inner_text()
    dialog.get_by_role("button", name="Remove the alias").click()
    dialog.wait_for(state="hidden")
    assert stack.get("/v1/aliases")["aliases"] == []


def test_the_keyboard_leaves_a_dialog_without_changing_anything(stack: Stack, pair: str, browsing: Browsing) -> None:
    page = browsing.open(f"{stack.url}/ui/models/{pair}/versions/2")
    remove = page.get_by_role("button", name="Remove")
    remove.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    dialog.wait_for()
    assert "Version 1 goes on answering the requests that name pair without a version" in dialog.inner_text()
    page.keyboard.press("Escape")
    dialog.wait_for(state="hidden")
    assert remove.evaluate("(one) => one === document.activeElement")
    assert [version["version"] for version in stack.get(f"/v1/models/{pair}")["versions"]] == ["1", "2"]


def test_the_default_is_not_removed_while_another_version_could_answer(
    stack: Stack, pair: str, browsing: Browsing
) -> None:
    page = browsing.open(f"{stack.url}/ui/models/{pair}/versions/1")
    page.get_by_role("button", name="Remove").click()
    dialog = page.get_by_role("dialog")
    assert "Promote another version first" in dialog.inner_text()
    assert dialog.get_by_role("button").all_inner_texts() == ["Close"]


def test_a_version_without_a_comparison_is_not_promoted(stack: Stack, pair: str, browsing: Browsing) -> None:
    page = browsing.open(f"{stack.url}/ui/models/{pair}")
    page.get_by_role("button", name="Promote").click()
    page.get_by_role("dialog").get_by_role("button", name="Compare them").click()
    page.get_by_text("To compare version 2, which was not trained here").wait_for()
    assert stack.get(f"/v1/models/{pair}")["default_version"] == "1"


def test_a_comparison_that_runs_is_waited_for_and_not_made_again(stack: Stack, pair: str, browsing: Browsing) -> None:
    live = {"id": "live", "candidate": "2", "baseline": "1", "status": "RUNNING", "terminal": False}
    page = browsing.open(f"{stack.url}/ui/models/{pair}")
    posted: list[str] = []
    page.on("request", lambda request: posted.append(request.url) if request.method == "POST" else None)
    page.route("**/v1/models/pair/comparisons", lambda route: route.fulfill(json={"comparisons": [live]}))
    over = {**live, "status": "FAILED", "terminal": True, "error": "its trainer stopped"}
    page.route("**/v1/comparisons/live", lambda route: route.fulfill(json=over))
    page.get_by_role("button", name="Compare").click()
    page.get_by_text("They cannot be compared: its trainer stopped").wait_for()
    assert posted == []


def test_a_version_whose_dataset_was_removed_is_compared_on_another(
    stack: Stack, pair: str, browsing: Browsing
) -> None:
    browsing.expect("404")
    page = browsing.open("about:blank")
    page.route("**/v1/models/pair", lambda route: route.fulfill(json=told(route.fetch().json(), training="gone")))
    gone = {"status": 404, "detail": "There is no dataset 7.", "code": "not_found"}
    page.route("**/v1/models/pair/compare", lambda route: route.fulfill(status=404, json=gone))
    page.goto(f"{stack.url}/ui/models/{pair}")
    page.get_by_role("button", name="Compare").click()
    page.get_by_text("To compare version 2, whose dataset was removed").wait_for()


def test_the_removal_of_a_broken_default_says_which_version_becomes_it(
    stack: Stack, pair: str, browsing: Browsing
) -> None:
    page = browsing.open("about:blank")
    page.route("**/v1/models/pair", lambda route: route.fulfill(json=told(route.fetch().json(), "1", state="failed")))
    page.goto(f"{stack.url}/ui/models/{pair}/versions/1")
    page.get_by_role("button", name="Remove").click()
    page.get_by_role("dialog").get_by_text("It is not ready; version 2 becomes the default.").wait_for()


def told(model: dict[str, Any], which: str = "2", **fields: Any) -> dict[str, Any]:
    """Return what the service tells of a model, with other fields of a version."""
    versions = [{**each, **(fields if each["version"] == which else {})} for each in model["versions"]]
    return {**model, "versions": versions}


def test_the_default_model_is_chosen_and_the_choice_taken_back(stack: Stack, pair: str, browsing: Browsing) -> None:
    page = browsing.open(f"{stack.url}/ui/models/{pair}")
    dialog = page.get_by_role("dialog")
    page.get_by_role("button", name="Let it answer requests that name no model").click()
    assert "now digits answers them" in dialog.inner_text()
    dialog.get_by_role("button", name="Make it the default model").click()
    page.get_by_role("button", name="No longer the default model").click()
    assert stack.get("/v1/default-model") == {"model": pair, "origin": "tenant"}
    dialog.get_by_role("button", name="Take it back").click()
    page.get_by_role("button", name="Let it answer requests that name no model").wait_for()
    assert stack.get("/v1/default-model")["model"] == "digits"
