"""The pages agree with the code: settings, commands, make targets and links."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import click
import pytest

from inferq.cli import COMMANDS, main
from shared.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
PAGES = sorted([ROOT / "README.md", ROOT / "SECURITY.md", *(ROOT / "docs").rglob("*.md")])


def settings_page() -> str:
    """Return the page as docs/settings.py writes it."""
    spec = importlib.util.spec_from_file_location("settings_page", ROOT / "docs" / "settings.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return str(module.page())


def test_the_table_of_settings_is_what_the_code_says() -> None:
    assert (ROOT / "docs" / "settings.md").read_text() == settings_page(), "run: python docs/settings.py"


@pytest.mark.parametrize("name", list(Settings.model_fields))
def test_every_setting_has_its_variable_and_its_meaning_in_the_table(name: str) -> None:
    row = re.search(rf"^\| `INFERQ_{name.upper()}`.*\|.*\| (.+) \|$", settings_page(), re.MULTILINE)
    assert row, f"INFERQ_{name.upper()} is not in docs/settings.md"
    assert len(row[1].split()) >= 3


def test_every_variable_that_the_readme_names_exists() -> None:
    variables = {f"INFERQ_{name.upper()}" for name in Settings.model_fields}
    of_the_command = {"INFERQ_URL", "INFERQ_KEY"}
    of_compose = set(re.findall(r"\$\{(INFERQ_\w+)", (ROOT / "docker-compose.yml").read_text()))
    of_the_benchmark = {"INFERQ_BENCH_ENVS"}
    known = variables | of_the_command | of_compose | of_the_benchmark
    assert set(re.findall(r"INFERQ_\w+", README)) <= known


def test_every_command_that_the_readme_shows_exists() -> None:
    shown = re.findall(r"(?:^\$ |^\$ export \w+=\$\(|`)inferq ([\w-]+)(?: ([\w-]+))?", README, re.MULTILINE)
    assert {name for name, _ in shown} >= {"up", "classify", "models", "keys"}
    context = click.Context(main)
    for name, sub in shown:
        assert name in COMMANDS
        command = main.get_command(context, name)
        if isinstance(command, click.Group):
            assert sub in command.commands, f"inferq {name} {sub}"


def test_every_make_target_that_the_readme_names_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^\$ |`)make (\w+)", README, re.MULTILINE))
    assert {"demo", "serve", "test"} <= named <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_a_page_links_to_exists(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_of_the_code_that_a_page_names_exists(page: Path) -> None:
    for named in re.findall(r"`((?:api|worker|shared|inferq|docs|bench|deploy)/[\w/]+\.\w+)`", page.read_text()):
        assert (ROOT / named).exists(), f"{page.name} names {named}"


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
    spec = importlib.util.spec_from_file_location("faults_page", ROOT / "docs" / "faults.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page = (ROOT / "docs" / "faults.md").read_text()
    name = re.search(r"^\[(chaos-[^\]]+)\]", page, re.MULTILINE)
    assert name
    kept = json.loads((ROOT / "bench" / "results" / f"{name[1]}.json").read_text())
    assert module.section(kept, name[1]) in page, f"run: python docs/faults.py bench/results/{name[1]}.json"
    assert [row["lost"] + row["wrong"] + row["doubled"] for row in kept["rows"]] == [0] * len(kept["rows"])
