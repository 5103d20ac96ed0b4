"""The pages of what a trainer makes, or fails to make, in Chromium: corrections, labels and failures."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from PIL import Image

from shared import samples
from tests import digit_images, page_runner, stacks
from tests.pages.browsing import Browsing, fits, tabs, violations
from tests.stacks import Stack, until

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page, Route

pytestmark = pytest.mark.slow

TRAITS = {"even": (2, 4, 6), "round": (0, 6, 9)}
"""Label -> the digits that have it; a one has none."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack with a trainer."""
    with stacks.running(tmp_path_factory.mktemp("trained") / "data", "--workers", "1", trainer=True,
                        INFERQ_WEBHOOK_PRIVATE="true") as running:  # fmt: skip
        yield running


def post(stack: Stack, path: str, body: Any) -> dict[str, Any]:
    return dict(httpx.post(stack.url + path, json=body, timeout=30).raise_for_status().json())


def load(stack: Stack, name: str, members: dict[str, bytes], **fields: str) -> dict[str, Any]:
    """Return a new dataset when the trainer has read its archive, also one that is unusable."""
    files = {"file": (f"{name}.tgz", digit_images.archive(members))}
    data = {"name": name, **fields}
    dataset = dict(httpx.post(f"{stack.url}/v1/datasets", files=files, data=data, timeout=30).raise_for_status().json())

    def is_read() -> bool:
        dataset.update(stack.get(f"/v1/datasets/{name}"))
        return bool(dataset["state"] != "LOADING")

    until(is_read, 60, stack.output)
    return dataset


def ended(stack: Stack, dataset: str, **parameters: float) -> dict[str, Any]:
    """Train a model of the same name on a dataset; return the training when it has ended."""
    wanted = {"dataset": dataset, "name": dataset, "base": "digits", "parameters": parameters}
    training = post(stack, "/v1/trainings", wanted)

    def is_over() -> bool:
        training.update(stack.get(f"/v1/trainings/{training['id']}", Prefer="wait=5"))
        return bool(training["terminal"])

    until(is_over, 90, stack.output)
    return training


@pytest.fixture(scope="module")
def traits(stack: Stack) -> str:
    """The name of a multi-label dataset, and of the model that was trained on it."""
    members, rows = {}, ["file,labels"]
    for digit in (0, 1, 2, 4, 6, 9):
        for number in range(8):
            members[f"{digit}-{number}.png"] = digit_images.pictures(digit)[number]
            rows.append(f"{digit}-{number}.png,{'|'.join(label for label in TRAITS if digit in TRAITS[label])}")
    load(stack, "traits", {**members, "labels.csv": "\n".join(rows).encode()})
    training = ended(stack, "traits")
    assert training["status"] == "DONE", training
    return "traits"


WRONG = {"zero": 7, "one": 4, "four": 0, "seven": 1}
"""Label -> the digit of which two pictures have this label by mistake."""


@pytest.fixture(scope="module")
def doubted(stack: Stack) -> str:
    """The name of a dataset with eight wrong labels, on which a model was trained."""
    names = {"zero": 0, "one": 1, "four": 4, "seven": 7}
    members = {f"{label}/{digit}-{number}.png": digit_images.pictures(digit)[number]
               for label, digit in names.items() for number in range(14)}  # fmt: skip
    members |= {f"{label}/wrong-{label}-{number}.png": digit_images.pictures(digit)[20 + number]
                for label, digit in WRONG.items() for number in range(2)}  # fmt: skip
    load(stack, "doubted", members)
    training = ended(stack, "doubted")
    assert training["status"] == "DONE", training
    return "doubted"


def learnt(stack: Stack, dataset: str) -> dict[str, list[str]]:
    """Return the labels of each picture that was corrected or labelled, by its name."""
    examples = stack.get(f"/v1/datasets/{dataset}/examples?source=feedback")["examples"]
    return {example["name"]: [label["name"] for label in example["labels"]] for example in examples}


def opened(page: Page, name: str) -> Locator:
    """Open a picture of a job; return its dialog when it may be corrected."""
    page.locator(".outcomes .shot", has_text=name).click()
    dialog = page.get_by_role("dialog")
    dialog.locator("option", has_text="singles").wait_for(state="attached")
    return dialog


def labels_of(stack: Stack, dataset: str) -> dict[str, str]:
    """Return the label of each picture by its name."""
    found: dict[str, str] = {}
    cursor: str | None = ""
    while cursor is not None:
        page = stack.get(f"/v1/datasets/{dataset}/examples?limit=500&cursor={cursor}")
        found |= {example["name"]: example["label"]["name"] for example in page["examples"]}
        cursor = page["next"]
    return found


# The first one, since it needs empty pages.
def test_the_commands_of_empty_pages_make_the_first_dataset_training_and_model(
    stack: Stack, browsing: Browsing, tmp_path: Path
) -> None:
    pages = {name: browsing.open(f"{stack.url}/ui/{name}") for name in ("datasets", "trainings", "models")}
    create, train, same = (page.locator(".empty pre").inner_text() for page in pages.values())
    assert same == train
    for name, data in digit_images.files({0: 10, 1: 10}).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    # The base that the page names is brought by nobody here, as its weights are downloaded.
    for command in (create, train.replace("mobilenet_v2", "digits")):
        here = command.replace("FOLDER", ".").replace("DATASET", "first").replace("NAME", "first")
        page_runner.run(page_runner.Step(here, ""), tmp_path, stack.url)
    for name, page in pages.items():
        page.reload()
        page.locator("main").get_by_role("link", name="first").first.wait_for()
        assert page.locator(".empty").count() == 0, name


def test_near_duplicates_are_shown_in_groups_and_changed_there(stack: Stack, browsing: Browsing) -> None:
    photo = Image.open(samples.installed()["coffee.png"]).convert("RGB")
    members = {f"cup/{name}.jpg": saved(photo, quality=quality) for name, quality in (("first", 95), ("again", 60))}
    members |= {"plate/wrong.jpg": saved(photo, quality=30), "plate/other.jpg": saved(photo.rotate(180), quality=95)}
    dataset = load(stack, "photographs", members)
    page = browsing.open(f"{stack.url}/ui/datasets/{dataset['id']}")
    page.get_by_text("Look for them").press("Enter")
    copies = page.locator(".group", has=page.get_by_role("heading", name="Near-duplicates"))
    copies.get_by_text("1 group, 1 with different labels.").wait_for()
    copies.get_by_text("Different labels: cup, plate.").wait_for()
    assert sorted(copies.locator(".name").all_inner_texts()) == ["again.jpg", "first.jpg", "wrong.jpg"]
    wrong = copies.locator(".shot", has_text="wrong.jpg")
    wrong.get_by_text("Change").press("Enter")
    fits(page)
    wrong.get_by_role("button", name="Delete", exact=True).click()
    wrong.get_by_role("button", name="Delete this picture?").click()
    wrong.wait_for(state="detached")
    page.get_by_text("3 pictures of").wait_for()
    assert sorted(labels_of(stack, "photographs")) == ["again.jpg", "first.jpg", "other.jpg"]
    copies.get_by_text("1 group.").wait_for()
    copies.locator("summary:focus").wait_for()
    other = page.locator(".group", has=page.get_by_role("heading", name="Pictures", exact=True)).locator(
        ".shot", has_text="again.jpg"
    )
    other.get_by_text("Change").press("Enter")
    other.get_by_role("button", name="Delete", exact=True).click()
    other.get_by_role("button", name="Delete this picture?").click()
    copies.get_by_text("No picture is nearly a copy of another one.").wait_for()


def saved(picture: Image.Image, quality: int) -> bytes:
    """Return a picture as a JPEG."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return file.getvalue()


def test_a_suspect_label_is_changed_kept_or_deleted_on_the_page_of_its_dataset(
    stack: Stack, doubted: str, browsing: Browsing
) -> None:
    suspects = [each["example"]["name"] for each in stack.get(f"/v1/datasets/{doubted}/suspects")["suspects"]]
    wrong = [name for name in suspects if name.startswith("wrong-")]
    assert len(wrong) >= 6, suspects
    suggested, other, kept, removed, *_ = wrong
    browsing.expect("400")  # of a label that the dataset does not have
    page = browsing.open(f"{stack.url}/ui/datasets/{stack.get(f'/v1/datasets/{doubted}')['id']}")
    fits(page)

    def card(name: str) -> Locator:
        return page.locator(".worth .shot", has=page.get_by_label(f"Label of {name}", exact=True))

    before = labels_of(stack, doubted)
    field = card(suggested).get_by_role("combobox")
    right = field.input_value()
    assert right != before[suggested]
    card(suggested).get_by_role("button", name="Relabel").click()
    card(suggested).wait_for(state="detached")
    assert page.evaluate("document.activeElement.tagName") == "INPUT", "the next picture is at hand"

    field = card(other).get_by_role("combobox")
    field.fill("nine")
    field.press("Enter")
    card(other).get_by_role("alert").wait_for()
    field.fill("zero" if before[other] != "zero" else "four")
    field.press("Enter")
    card(other).wait_for(state="detached")

    card(kept).get_by_role("combobox").press("Escape")
    card(kept).wait_for(state="detached")

    card(removed).get_by_role("button", name="Delete", exact=True).click()
    card(removed).get_by_role("button", name="Delete this picture?").press("Escape")
    card(removed).get_by_role("button", name="Delete", exact=True).click()  # it was neither deleted nor kept
    card(removed).get_by_role("button", name="Delete this picture?").click()
    card(removed).wait_for(state="detached")

    changed = {suggested: right, other: "zero" if before[other] != "zero" else "four"}
    expected = {name: label for name, label in (before | changed).items() if name != removed}
    assert labels_of(stack, doubted) == expected
    counts = [f"{label} {list(expected.values()).count(label)}" for label in sorted(WRONG)]
    for count_of_label in counts:
        page.locator(".bar", has_text=re.compile(count_of_label.replace(" ", r"\s*"))).wait_for()
    page.reload()
    page.get_by_text("1 other label that it doubts was kept").wait_for()
    left = [name.removeprefix("Label of ") for name in
            page.locator(".worth input").evaluate_all("all => all.map((one) => one.ariaLabel)")]  # fmt: skip
    assert left == [name for name in suspects if name not in (suggested, other, kept, removed)]


def test_a_decision_about_a_picture_removes_all_its_cards(stack: Stack, doubted: str, browsing: Browsing) -> None:
    def doubled(route: Route) -> None:
        found = route.fetch().json()
        first, second = found["suspects"][:2]
        route.fulfill(json={**found, "suspects": [first, second, first] + [first] * 24})

    names = [each["example"]["name"] for each in stack.get(f"/v1/datasets/{doubted}/suspects")["suspects"][:2]]
    page = browsing.open("about:blank")
    page.route("**/v1/datasets/*/suspects", doubled)
    page.goto(f"{stack.url}/ui/datasets/{stack.get(f'/v1/datasets/{doubted}')['id']}")
    page.get_by_role("button", name="Show 3 more").wait_for()
    page.locator(".worth").get_by_role("combobox").first.press("Escape")
    page.get_by_text("1 label is probably wrong").wait_for()
    assert page.locator(".worth input").get_attribute("aria-label") == f"Label of {names[1]}"
    assert not page.get_by_role("button", name=re.compile("Show .* more")).is_visible()


def test_any_picture_of_a_dataset_is_relabelled_or_deleted_on_its_page(
    stack: Stack, doubted: str, browsing: Browsing
) -> None:
    page = browsing.open(f"{stack.url}/ui/datasets/{stack.get(f'/v1/datasets/{doubted}')['id']}")
    pictures = page.locator(".shots:not(.worth) .shot")
    name = pictures.first.locator(".name").inner_text()
    before = labels_of(stack, doubted)
    pictures.first.get_by_text("Change").press("Enter")
    fits(page)
    pictures.first.get_by_label(f"Label of {name}").fill("four" if before[name] != "four" else "one")
    page.keyboard.press("Enter")
    until(lambda: labels_of(stack, doubted)[name] != before[name], 20)
    page.locator(".shots:not(.worth) summary:focus").wait_for()
    page.keyboard.press("Enter")
    pictures.first.get_by_role("button", name="Delete", exact=True).click()
    pictures.first.get_by_role("button", name="Delete this picture?").click()
    until(lambda: name not in labels_of(stack, doubted), 20)
    page.get_by_text(f"{len(before) - 1} pictures of").wait_for()


def test_where_nothing_is_doubted_the_page_says_so(stack: Stack, traits: str, browsing: Browsing) -> None:
    listed = stack.get(f"/v1/datasets/{traits}/suspects")["suspects"]
    for example in {each["example"]["id"] for each in listed}:
        httpx.delete(f"{stack.url}/v1/datasets/{traits}/suspects/{example}").raise_for_status()
    page = browsing.open(f"{stack.url}/ui/datasets/{stack.get(f'/v1/datasets/{traits}')['id']}")
    section = page.locator(".group", has=page.get_by_role("heading", name="Suspect labels"))
    section.get_by_text("left no label in doubt").wait_for()
    section.get_by_role("link", name="newest training").click()
    page.get_by_role("heading", name=traits).wait_for()


def test_a_correction_names_as_many_labels_as_the_dataset_has_for_a_picture(
    stack: Stack, traits: str, browsing: Browsing
) -> None:
    post(stack, "/v1/datasets", {"name": "singles", "labels": ["even", "odd"]})
    files = [(f"{digit}.png", digit_images.pictures(digit)[20]) for digit in (6, 1, 4)]
    job = stack.submit(files, model=traits)["_id"]
    stack.finished(job, 60)
    page = browsing.open(f"{stack.url}/ui/jobs/{job}")
    for name, text, dataset, shown in (
        ("6.png", "even, round", "that of the model", "even | round"),
        ("1.png", "", "that of the model", "no label"),
        ("4.png", "round,", traits, "round"),
        ("6.png", "even", "singles", "even"),
    ):
        dialog = opened(page, name)
        dialog.get_by_label("Dataset that learns it").select_option(label=dataset)
        field = dialog.get_by_label("The right label")
        field.fill("")
        assert field.evaluate("(one) => one.validity.valueMissing") == (dataset == "singles")
        field.fill(text)
        assert violations(page) == []
        dialog.get_by_role("button", name="Correct the label").click()
        dialog.get_by_text(f"It is now an example of {shown} in the dataset").wait_for()
        page.keyboard.press("Escape")
        dialog.wait_for(state="hidden")
    assert learnt(stack, traits) == {"6.png": ["even", "round"], "1.png": [], "4.png": ["round"]}
    assert learnt(stack, "singles") == {"6.png": ["even"]}


def see(stack: Stack, model: str, least: int) -> None:
    """Send pictures that a model is unsure about until so many are kept."""
    numbers = count()

    def are_seen() -> bool:  # the worker hears of the choice within some seconds
        with io.BytesIO() as file:
            Image.effect_noise((64, 64), 90).save(file, "PNG")
            job = stack.submit([(f"noise-{next(numbers)}.png", file.getvalue())], model=model)["_id"]
        stack.finished(job, 30)
        return int(stack.get(f"/v1/models/{model}/seen-pictures")["pictures"]) >= least

    until(are_seen, 60, stack.output)


def test_what_is_worth_labelling_fits_every_screen_from_the_choice_to_the_last_picture(
    stack: Stack, traits: str, browsing: Browsing
) -> None:
    httpx.delete(f"{stack.url}/v1/models/{traits}/seen-pictures").raise_for_status()
    page = browsing.open(f"{stack.url}/ui/models/{traits}/suggestions")
    fits(page)
    assert tabs(page)[-1] == "Keep them"
    page.get_by_label("At most").fill("50")
    page.get_by_role("button", name="Keep them").click()
    page.get_by_text("0 pictures kept, 0 bytes. At most 50, each for 30 days after it was last seen.").wait_for()
    page.get_by_text("none is left to be labelled").wait_for()
    fits(page)
    see(stack, traits, 2)
    page.reload()
    page.locator(".worth .shot").nth(1).wait_for()
    fits(page)
    names = page.locator(".worth input").evaluate_all("all => all.map((one) => one.ariaLabel)")
    stops = tabs(page)
    assert [stop for stop in stops if stop.startswith("Label of ")] == names
    first = stops.index(names[0])
    assert stops[first : first + 3] == [names[0], "Label", "Dismiss"]
    assert "Keep none" in stops[:first]
    page.get_by_label(names[0]).press("Escape")
    page.get_by_label(names[0]).wait_for(state="detached")
    assert page.evaluate("document.activeElement.ariaLabel") == names[1], "the next picture is at hand"
    page.get_by_role("button", name="Keep none").click()
    page.get_by_role("button", name="Remove all of them?").click()
    page.get_by_role("button", name="Keep them").wait_for()
    assert stack.get(f"/v1/models/{traits}/seen-pictures")["pictures"] == 0


def test_a_suggestion_gets_all_its_labels_or_none(stack: Stack, traits: str, browsing: Browsing) -> None:
    httpx.put(f"{stack.url}/v1/models/{traits}/seen-pictures", json={}).raise_for_status()
    see(stack, traits, 2)
    suggestions = post(stack, f"/v1/models/{traits}/suggestions", {})["suggestions"]
    first, second = (suggestion["name"] for suggestion in suggestions[:2])
    page = browsing.open(f"{stack.url}/ui/models/{traits}/suggestions")
    for name, text in ((first, "even, round"), (second, "")):
        field = page.get_by_label(f"Label of {name}")
        field.fill(text)
        field.press("Enter")
        field.wait_for(state="detached")
    found = learnt(stack, traits)
    assert (found[first], found[second]) == (["even", "round"], [])


def test_the_pages_of_failures_say_why_and_break_no_rule(stack: Stack, browsing: Browsing) -> None:
    same = digit_images.pictures(3)[0]
    copies = {f"{label}/{number}.png": same + label.encode() * number for label in ("a", "b") for number in range(1, 5)}
    assert load(stack, "copies", copies)["state"] == "READY"
    training = ended(stack, "copies")
    both = {"1.png": digit_images.pictures(6)[0], "labels.csv": b"file,labels\n1.png,even|round\n"}
    unfit = load(stack, "unfit", both, problem_type="single_label_classification")
    expired = stack.submit(stacks.digits()[:1], model="digits", deadline="2020-01-01T00:00:00Z")
    stack.finished(expired["_id"], 30)
    for path, title, why in (
        (f"trainings/{training['id']}", "Failed", training["error"]),
        (f"datasets/{unfit['id']}", "The last archive could not be loaded", unfit["message"]),
        (f"jobs/{expired['_id']}", "Expired", stack.get(f"/v1/jobs/{expired['_id']}")["error_description"]),
    ):
        page = browsing.open(f"{stack.url}/ui/{path}")
        card = page.locator(".card", has=page.get_by_role("heading", name=title))
        assert card.locator(".wrong").inner_text() == why
        assert violations(page) == []


def test_a_version_is_compared_promoted_and_rolled_back_with_what_answers_afterwards(
    stack: Stack, traits: str, browsing: Browsing
) -> None:
    second = ended(stack, traits)["model"]["version"]
    first = stack.get(f"/v1/models/{traits}")["default_version"]
    page = browsing.open(f"{stack.url}/ui/models/{traits}")
    dialog = page.get_by_role("dialog")

    def decide(button: str, says: str, does: str, default: str) -> None:
        page.get_by_role("button", name=button).click()
        assert says in dialog.inner_text()
        assert violations(page) == []
        dialog.get_by_role("button", name=does).click()
        dialog.wait_for(state="hidden")
        assert stack.get(f"/v1/models/{traits}")["default_version"] == default

    page.get_by_role("button", name="Compare").click()
    page.locator(".report").wait_for()  # the training has compared it with the default
    share = f"It answers that share of the requests that name {traits} without a version"
    decide("Canary", share, "Start the canary", first)
    assert "answers 10 % of the requests" in page.locator(".canary").inner_text()
    now = f"Version {second} answers the requests that name {traits} without a version; now version {first} does"
    decide("Promote", now, "Promote", second)
    decide("Roll back", f"Version {first} answers the requests that name {traits}", "Roll back", first)
    table = page.locator(".beside")
    table.wait_for()
    rows = {row.locator("th").inner_text(): row.inner_text() for row in table.locator("tbody tr").all()}
    assert re.search(r"[\d.]+ %\s+[\d.]+ % to [\d.]+ %", rows["mAP"])
    assert {"accuracy", "calibration error", "against the default"} <= set(rows)


def test_the_report_of_a_training_fits_each_screen_and_breaks_no_rule(
    stack: Stack, traits: str, browsing: Browsing
) -> None:
    training = stack.get(f"/v1/models/{traits}")["versions"][0]["training"]
    page = browsing.open(f"{stack.url}/ui/trainings/{training}")
    page.get_by_role("heading", name="Calibration").wait_for()
    fits(page)


def test_coverage_is_drawn_against_accuracy(stack: Stack, browsing: Browsing) -> None:
    load(stack, "believed", digit_images.files(dict.fromkeys((0, 1, 3, 8), 40)))
    training = ended(stack, "believed", reject_below_precision=0.9)
    rule = training["evidence"]["rejection"]
    page = browsing.open(f"{stack.url}/ui/trainings/{training['id']}")
    plot = page.locator("svg[aria-label^='Right answers against believed answers']")
    plot.wait_for()
    share = 100 * rule["believed"] / rule["pictures"]
    assert f"of {share:.1f} % that are believed" in (plot.get_attribute("aria-label") or "")
    drawn = plot.locator("polyline").get_attribute("points") or ""
    assert len(drawn.split()) == len(rule["curve"]) > 1
    assert plot.locator("circle").is_visible()
    fits(page)


def test_the_curve_of_a_training_grows_while_it_runs(stack: Stack, traits: str, browsing: Browsing) -> None:
    parameters = {"epochs": 5000, "max_unimproved_epochs": 5000}
    wanted = {"dataset": traits, "name": "grows", "base": "scratch", "parameters": parameters}
    training = post(stack, "/v1/trainings", wanted)["id"]
    page = browsing.open("about:blank")
    page.goto(f"{stack.url}/ui/trainings/{training}")  # its stream of events goes on, so that the network never rests

    def epochs() -> int:
        label = page.locator("svg[aria-label^='Loss over']").get_attribute("aria-label") or ""
        return int(re.findall(r"\d+", label)[0])

    page.locator("svg[aria-label^='Right answers over'] polyline.validation").wait_for(timeout=60_000)
    before = epochs()
    page.wait_for_function(
        "before => document.querySelector(\"svg[aria-label^='Loss over']\").ariaLabel.match(/\\d+/)[0] > before + 1",
        arg=before,
    )
    fits(page)
    page.get_by_role("button", name="Cancel the training").click()
    page.get_by_role("button", name="Cancel it? Its progress is lost").click()
    page.get_by_text("It was cancelled; the dataset is unchanged.").wait_for()
    assert epochs() > before
    drawn = page.locator("svg[aria-label^='Loss over'] polyline.train").get_attribute("points") or ""
    assert len(drawn.split()) == epochs() == len(stack.get(f"/v1/trainings/{training}")["curve"])
    assert violations(page) == []


FOCUSABLE = """() => {
  const kinds = 'a[href], button, input, select, textarea, summary, [tabindex="0"]';
  const stops = [...document.querySelectorAll(`main :is(${kinds})`)].filter((one) =>
    one.tabIndex >= 0 && !one.disabled && one.checkVisibility({ visibilityProperty: true }));
  const at = document.activeElement;
  const { top, bottom, left, right } = at.getBoundingClientRect();
  const isSeen = bottom > 0 && right > 0 && top < innerHeight && left < innerWidth;
  return [stops.indexOf(at), stops.length, isSeen, at === document.body];
}"""
"""The place of the focus among what the keyboard may reach, how many these are; is it on the screen, or over?"""


@pytest.mark.parametrize("path", ["fleet", "datasets", "trainings", "webhooks"])
def test_the_tab_key_leads_to_everything_in_its_order(stack: Stack, traits: str, browsing: Browsing, path: str) -> None:
    name, data = stacks.digits()[7]
    files, hook = {"files": (name, data)}, {"model": "digits", "webhook": "http://127.0.0.1:9/hook"}
    httpx.post(f"{stack.url}/v1/jobs", files=files, data=hook).raise_for_status()
    until(lambda: stack.get("/v1/webhooks/deliveries")["deliveries"], 20)
    page = browsing.open(f"{stack.url}/ui/{path}", screen="phone")
    content = {"fleet": ".machine", "webhooks": ".delivery"}.get(path, "a.row")
    page.locator(content).first.wait_for()
    reached, hidden = [], []
    for _ in range(100):
        page.keyboard.press("Tab")
        place, many, is_seen, is_over = page.evaluate(FOCUSABLE)
        if is_over:
            break
        if place >= 0:
            reached.append(place)
            hidden += [] if is_seen else [place]
    assert reached == list(range(many))
    assert len(reached) > 1
    assert hidden == []
