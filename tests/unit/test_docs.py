"""The pages agree with the code: settings, commands, make targets, links, figures, and the pages that are generated."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest
from PIL import Image, ImageStat

from inferq.cli import COMMANDS, main
from shared import errors
from shared.domain import dead_letters
from shared.domain.datasets import DatasetState
from shared.domain.jobs import Status
from shared.domain.models import ModelState
from shared.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
RESULTS = ROOT / "bench" / "results"
README = (ROOT / "README.md").read_text()
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *DOCS.rglob("*.md")])
EACH_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
SCRIPTS = sorted((DOCS / "reference").glob("*.py"))


def script(path: Path) -> ModuleType:
    """Return the module of a script in docs/."""
    spec = importlib.util.spec_from_file_location(f"page_{path.stem}", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


COMMAND_PAGE = script(DOCS / "reference" / "command.py")


def settings_page() -> str:
    """Return the page as docs/settings.py writes it."""
    return str(script(DOCS / "settings.py").page())


def test_the_table_of_settings_is_what_the_code_says() -> None:
    assert (DOCS / "settings.md").read_text() == settings_page(), "run: make reference"


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: str(path.stem))
def test_a_page_of_the_reference_is_what_the_code_says(path: Path) -> None:
    pages: dict[str, str] = script(path).pages()
    assert pages
    old = [name for name, text in pages.items() if (DOCS / "reference" / name).read_text() != text]
    assert old == [], "run: make reference"


def test_every_page_of_the_reference_is_written_by_a_script() -> None:
    written = {name for path in SCRIPTS for name in re.findall(r'"(\w+\.md)"', path.read_text())}
    assert {page.name for page in (DOCS / "reference").glob("*.md")} == written


def test_the_reference_has_every_call_every_command_and_every_error() -> None:
    calls = "".join(page.read_text() for page in (DOCS / "reference").glob("api_*.md"))
    assert all(f"\n{call}\n" in calls for call in ("POST /v1/classify", "POST /v2/vision/predict", "GET /readyz"))
    commands = (DOCS / "reference" / "command.md").read_text()
    assert [name for name in COMMANDS if f"\n## `inferq {name}`\n" not in commands] == []
    codes = (DOCS / "reference" / "errors.md").read_text()
    assert [kind for kind in (errors.BadUrl, errors.StillRunning) if f"| `{kind().code}` |" not in codes] == []


@pytest.mark.parametrize(("command", "words"), [("doctor", "Examine the service"), ("bench", "Measure a service")])
def test_the_reference_has_an_address_that_means_something_else_for_a_command(command: str, words: str) -> None:
    page = (DOCS / "reference" / "command.md").read_text()
    section = page.split(f"## `inferq {command}`")[1].split("\n## ")[0]
    assert re.search(rf"^\| `--url TEXT` \| {words}", section, re.MULTILINE)
    assert "| `--key TEXT` |" in section


def test_the_reference_has_every_code_that_a_worker_writes_to_a_picture() -> None:
    code = "".join(path.read_text() for folder in ("worker", "shared") for path in (ROOT / folder).rglob("*.py"))
    codes = set(re.findall(r"""failed\([^()]*(?:\[\d\])?, "([a-z_]+)",|error_code="([a-z_]+)\"""", code))
    written = {one or other for one, other in codes} | {dead_letters.EXPIRED}
    assert {"poison", "gone", "model_failed", "search_failed"} <= written
    page = (DOCS / "reference" / "errors.md").read_text()
    assert [name for name in sorted(written) if f"| `{name}` |" not in page] == []


@pytest.mark.parametrize("name", list(Settings.model_fields))
def test_every_setting_has_its_variable_and_its_meaning_in_the_table(name: str) -> None:
    row = re.search(rf"^\| `INFERQ_{name.upper()}`.*\|.*\| (.+) \|$", settings_page(), re.MULTILINE)
    assert row, f"INFERQ_{name.upper()} is not in docs/settings.md"
    assert len(row[1].split()) >= 3


@EACH_PAGE
def test_every_variable_that_a_page_names_exists(page: Path) -> None:
    variables = {f"INFERQ_{name.upper()}" for name in Settings.model_fields}
    of_the_command = {"INFERQ_URL", "INFERQ_KEY"}
    of_compose = set(re.findall(r"\$\{(INFERQ_\w+)", (ROOT / "docker-compose.yml").read_text()))
    of_the_benchmark = {"INFERQ_BENCH_ENVS"}
    of_the_tests = {"INFERQ_TEST_POSTGRES", "INFERQ_TEST_FUZZING"}
    known = variables | of_the_command | of_compose | of_the_benchmark | of_the_tests
    assert set(re.findall(r"INFERQ_\w*[A-Z](?![*\w])", page.read_text())) <= known


def commands_shown(text: str) -> set[tuple[str, str]]:
    """Return (command, word after it) of each `inferq …` in a console block or in code within a line."""
    shown = re.findall(r"(?:^\$ |^\$ export \w+=\$\(|`)inferq ([\w-]+)(?: ([\w-]+))?", text, re.MULTILINE)
    return {(name, sub) for name, sub in shown if not name.isupper()}  # COMMAND stands for any


@EACH_PAGE
def test_every_command_that_a_page_shows_exists(page: Path) -> None:
    context = click.Context(main)
    for name, sub in commands_shown(page.read_text()):
        assert name in COMMANDS
        command = main.get_command(context, name)
        if isinstance(command, click.Group) and sub:
            assert sub in command.commands, f"inferq {name} {sub}"


@EACH_PAGE
def test_every_option_that_a_page_shows_behind_a_command_exists(page: Path) -> None:
    context = click.Context(main)
    lines = re.findall(r"(?:^\$ |\$\(|`)inferq (?![A-Z])([^`#\n)]+)", page.read_text(), re.MULTILINE)
    for words in (line.split() for line in lines):
        command = COMMAND_PAGE.find(main, context, words[0])
        if isinstance(command, click.Group) and len(words) > 1:
            command = command.commands[words[1]]
        exist = {name for option in command.params for name in (*option.opts, *option.secondary_opts)} | {"--help"}
        shown = {re.split("[=|]", word)[0] for word in words if word.startswith("--")}
        assert shown <= exist, words


def test_the_readme_is_short_and_shows_the_commands_that_a_stranger_needs() -> None:
    assert len(README.splitlines()) < 200
    assert {name for name, _ in commands_shown(README)} >= {"samples", "classify"}


@EACH_PAGE
def test_every_make_target_that_a_page_names_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:^\$ |`)make ([\w-]+)", page.read_text(), re.MULTILINE)) <= targets


def test_the_readme_names_the_targets_that_a_stranger_needs() -> None:
    assert {"setup", "demo", "serve", "docs", "test", "test-fast"} <= set(re.findall(r"make ([\w-]+)", README))


@EACH_PAGE
def test_every_file_that_a_page_links_to_exists(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_picture_of_the_readme_exists_and_is_described() -> None:
    pictures = re.findall(r"<img ([^>]+)>", README)
    assert len(pictures) == 4
    for attributes in pictures:
        source, words = re.search(r'src="([^"]+)"', attributes), re.search(r'alt="([^"]+)"', attributes)
        assert source
        assert words
        assert len(words[1].split()) > 5
        assert (ROOT / source[1]).is_file(), f"make screenshots writes {source[1]}"


@EACH_PAGE
def test_every_file_of_the_code_that_a_page_names_exists(page: Path) -> None:
    for named in re.findall(r"`((?:api|worker|shared|inferq|docs|bench|deploy)/[\w/]+\.\w+)`", page.read_text()):
        if "NAME" in named:  # of a file that is to be made
            continue
        assert (ROOT / named).exists(), f"{page.name} names {named}"


def test_the_page_of_states_has_every_state() -> None:
    page = (DOCS / "explanation" / "states.md").read_text()
    assert [state for state in (*Status, *ModelState, *DatasetState) if f"{state}" not in page] == []


def rows_below(page: str, heading: str) -> Iterator[list[str]]:
    """Yield the cells of the rows of the first table below a heading."""
    table = page.partition(f"\n## {heading}\n")[2].partition("\n| ")[2].partition("\n\n")[0]
    for line in table.splitlines()[2:]:
        yield [cell.strip() for cell in line.strip().removeprefix("|").removesuffix("|").split("|")]


def test_every_message_that_the_page_of_symptoms_quotes_is_in_the_code() -> None:
    page = (DOCS / "operations" / "troubleshooting.md").read_text()
    quoted = [message for message, *_ in rows_below(page, "It does not start")]
    quoted += re.findall(r"^\| `/readyz`: ([^|]+) \|", page, re.MULTILINE)
    assert len(quoted) > 10
    folders = ("api", "inferq", "shared", "worker")
    code = "".join(path.read_text() for folder in folders for path in (ROOT / folder).rglob("*.py"))
    parts = [part.strip() for message in quoted for part in message.split("…") if part.strip()]
    assert [part for part in parts if part not in code] == []


def kept(name: str) -> dict[str, Any]:
    """Return a result that is kept in bench/results."""
    return dict(json.loads((RESULTS / f"{name}.json").read_text()))


def test_the_figures_of_one_machine_are_those_of_the_result() -> None:
    page = (DOCS / "operations" / "sizing.md").read_text()
    name = re.search(r"results/([\w-]+-mobilenet_v2)\.json", page)
    assert name
    result = kept(name[1])
    alone = sum(result["limit"]["runs"]) / len(result["limit"]["runs"])
    assert f"does {alone:.0f} pictures/s" in page
    assert f"does {alone:.0f} pictures/s" in README
    measured = {(row["way"], str(row["concurrency"])): row for row in result["rows"]}
    shown = list(rows_below(page, "One machine with two cores"))
    assert {(way, callers) for way, callers, *_ in shown} == set(measured)
    for way, callers, rate, share, median, api in shown:
        row = measured[way, callers]
        assert rate == f"{row['rate']:.0f}", way
        assert share == f"{row['rate'] / alone:.2f}", way
        assert median == (f"{row['latency']['p50']:.0f}" if row["latency"] else ""), way
        assert api == f"{row['cpu_ms']['api']:.1f}", way
    of_the_readme = {tuple(cells[1:]) for cells in rows_below(README, "How fast it is")}
    assert len(of_the_readme) == 6
    assert of_the_readme <= {tuple(cells[1:5]) for cells in shown}


def test_the_memory_of_the_processes_is_that_of_the_result() -> None:
    page = (DOCS / "operations" / "sizing.md").read_text()
    name = re.search(r"results/([\w-]+-soak-[\w-]+)\.json", page)
    assert name
    megabytes = dict[str, float]()
    for series in kept(name[1])["series"]:
        process, _, child = series["what"].partition(", ")
        if series["measure"] == "PSS" and not (child and process.startswith("worker")):  # which converted a model
            megabytes[process] = megabytes.get(process, 0.0) + series["values"][-1] / 1e6
    assert dict(rows_below(page, "Memory")) == {process: f"{value:.0f}" for process, value in megabytes.items()}


def test_the_figures_beside_other_servers_are_those_of_the_result() -> None:
    page = (DOCS / "operations" / "sizing.md").read_text()
    name = re.search(r"results/([\w-]+-peers)\.json", page)
    assert name
    points = kept(name[1])["points"]
    shown = {server: (pictures, photos) for server, pictures, photos in rows_below(page, "Beside other servers")}
    assert len(shown) == 6
    for server, figures in shown.items():
        best = {
            section: max(
                point["rate"] for point in points if point["contestant"] == server and point["section"] == section
            )
            for section in ("pictures", "12-megapixel photos")
        }
        assert figures == (f"{best['pictures']:.0f}", f"{best['12-megapixel photos']:.1f}"), server


def test_the_readme_and_the_page_of_faults_say_the_same() -> None:
    name = re.search(r"^\[(chaos-[^\]]+)\]", (DOCS / "faults.md").read_text(), re.MULTILINE)
    assert name
    rows = kept(name[1])["rows"]
    assert f"{sum(row['times'] for row in rows)} faults" in README
    assert f"{sum(row['accepted'] for row in rows):,} requests" in README


THREATS = (ROOT / "docs" / "threat_model.md").read_text()


@pytest.mark.parametrize("named", sorted(set(re.findall(r"`(tests/[\w/]+\.py::\w+)`", THREATS))))
def test_every_test_that_the_threat_model_names_exists(named: str) -> None:
    file, _, function = named.partition("::")
    assert f"\ndef {function}(" in (ROOT / file).read_text()


def test_every_way_in_has_a_test() -> None:
    table = THREATS.partition("## Ways in")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 15
    assert [row for row in rows if "`tests/" not in row] == []


def test_the_page_of_faults_shows_a_kept_result_as_it_is() -> None:
    module = script(DOCS / "faults.py")
    page = (ROOT / "docs" / "faults.md").read_text()
    name = re.search(r"^\[(chaos-[^\]]+)\]", page, re.MULTILINE)
    assert name
    result = kept(name[1])
    assert module.section(result, name[1]) in page, f"run: python docs/faults.py bench/results/{name[1]}.json"
    assert [row["lost"] + row["wrong"] + row["doubled"] for row in result["rows"]] == [0] * len(result["rows"])


@pytest.mark.parametrize("name", ["try", "fleet", "jobs", "training", "models", "reference"])
def test_a_page_has_its_screenshots_light_and_dark(name: str) -> None:
    for suffix in ("", "-dark"):
        file = ROOT / "docs" / "images" / f"{name}{suffix}.png"
        assert 0 < file.stat().st_size <= 150_000, "run: make screenshots"
        with Image.open(file) as image:
            assert image.width == 1280
            grey = ImageStat.Stat(image.convert("L")).median[0]
        assert grey < 60 if suffix else grey > 200


COMMAND_LINE = (DOCS / "how-to" / "command_line.md").read_text()


@pytest.mark.parametrize("line", re.findall(r"inferq (\w+[^\n`#|>]*)", COMMAND_LINE.partition("\n## ")[2]))
def test_every_option_on_the_page_of_the_command_line_is_one_of_its_command(line: str) -> None:
    name, *words = line.split()
    command = main.get_command(click.Context(main), name)
    if isinstance(command, click.Group) and words:
        command = command.commands[words[0]]
    assert command
    options = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if re.fullmatch(r"-[a-z]|--[a-z-]+", word)} <= options | {"--help"}
