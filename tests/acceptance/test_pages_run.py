"""Every command of README.md, the tutorial and the how-to pages runs, and prints what the page shows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import how_to_pages, npm_packages, page_runner, stacks
from tests.long import rest_long
from tests.page_runner import ROOT, Step
from tests.stacks import Stack
from tests.webhook_receivers import receiving

pytestmark = pytest.mark.timeout(400)

ADDRESS = 'make setup PIP_ARGS="--extra-index-url ADDRESS_OF_THE_CPU_INDEX"'
MODEL = "efficientnet_lite0"
INSTEAD = {
    # The environment of the tests is set up: these say what they would do, and do not install anything.
    ADDRESS: f"make --dry-run --always-make {ADDRESS.removeprefix('make ')} | grep -- --extra-index-url",
    "make setup": "make --old-file=.venv/.ready setup",
    "make demo": "make --old-file=.venv/.ready demo",
    # The stack of this file runs already, as `inferq up` on a free port.
    "make serve": "make --dry-run --old-file=.venv/.ready serve | grep 'inferq up'",
    "inferq up": "curl --fail --silent $INFERQ_URL/readyz",
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack on which nothing was chosen, with a trainer; its webhooks may reach receivers of the tests."""
    data = tmp_path_factory.mktemp("pages") / "data"
    chosen = {"INFERQ_DEFAULT_MODEL": "", "INFERQ_WEBHOOK_PRIVATE": "true"}
    with stacks.running(data, "--workers", "1", trainer=True, **chosen) as running:
        yield running


def test_what_is_not_run_or_replaced_is_on_a_page_and_every_page_with_commands_is_run_or_says_why_not() -> None:
    pages = {path.relative_to(ROOT / "docs").as_posix(): path.read_text()
             for folder in ("how-to", "operations") for path in (ROOT / "docs" / folder).glob("*.md")}  # fmt: skip
    found = {name: how_to_pages.commands(text) for name, text in pages.items()}
    every = {command for commands in found.values() for command in commands}
    named = {*how_to_pages.NOT_RUN, *how_to_pages.INSTEAD, *how_to_pages.VARIES}
    assert named - every == set()
    assert not {*how_to_pages.NOT_RUN} & {*how_to_pages.INSTEAD}
    not_run = {name for name, commands in found.items() if set(commands) - {*how_to_pages.NOT_RUN}}
    # Which have tests of their own; the page of logs shows what tests/integration/test_job_story.py checks.
    tested = {"how-to/python.md", "how-to/typescript.md", "operations/logs.md"}
    assert not_run - tested == set(how_to_pages.PAGES)


@pytest.mark.long
def test_every_snippet_of_the_page_of_the_python_client_prints_what_it_says(stack: Stack, tmp_path: Path) -> None:
    assert page_runner.run_page((ROOT / "docs" / "how-to" / "python.md").read_text(), tmp_path, stack.url) > 7


@pytest.mark.node
def test_every_snippet_of_the_page_of_the_typescript_client_is_typed_and_prints_what_it_says(
    stack: Stack, tmp_path: Path
) -> None:
    page_runner.run(Step("inferq samples photos", ""), tmp_path, stack.url)
    snippets = page_runner.codes((ROOT / "docs" / "how-to" / "typescript.md").read_text(), "ts")
    assert len(snippets) > 4
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules" / "inferq").symlink_to(npm_packages.built_typescript())
    (tmp_path / "package.json").write_text('{"type": "module"}')
    opened = "export function openAsBlob(path: string): Promise<Blob>;"
    (tmp_path / "node.d.ts").write_text(f'declare module "node:fs" {{ {opened} }}\n')  # of all types of Node.js
    for number, code in enumerate(snippets):
        (tmp_path / f"page{number}.ts").write_text(code.replace(page_runner.HERE, stack.url))
    libraries = "es2022,dom,dom.iterable,dom.asynciterable"
    options = ("--target", "es2022", "--module", "nodenext", "--strict", "--lib", libraries)
    npm_packages.run("node", npm_packages.TSC, *options, *sorted(tmp_path.glob("*.ts")), folder=tmp_path)
    for number, code in enumerate(snippets):
        printed = npm_packages.run("node", f"page{number}.js", folder=tmp_path, INFERQ_URL=stack.url, INFERQ_KEY="")
        assert printed.splitlines() == page_runner.printed_comments(code), code


# After the pages of the clients, since the tutorial ends with another default model.
@pytest.mark.parametrize("page", rest_long(["README.md", "docs/tutorial/index.md"]))
def test_every_command_of_the_page_prints_what_the_page_shows(stack: Stack, tmp_path: Path, page: str) -> None:
    folder = page_runner.checkout(tmp_path)
    assert page_runner.run_page((ROOT / page).read_text(), folder, stack.url, INSTEAD) > 8


def test_every_command_that_is_replaced_is_on_a_page() -> None:
    text = (ROOT / "README.md").read_text() + (ROOT / "docs" / "tutorial" / "index.md").read_text()
    assert [command for command in INSTEAD if f"\n$ {command}\n" not in text] == []


def test_a_page_that_shows_another_label_fails(stack: Stack, tmp_path: Path) -> None:
    folder = page_runner.checkout(tmp_path)
    page_runner.run(Step("inferq samples photos", ""), folder, stack.url)
    with pytest.raises(AssertionError, match="espresso"):
        page_runner.run(Step(f"inferq classify photos/coffee.png --model {MODEL}", "teapot"), folder, stack.url)


# The last one, since its last page creates the first key, and from then on every request needs one.
@pytest.mark.long
@pytest.mark.parametrize("name", how_to_pages.PAGES)
def test_every_command_of_a_how_to_page_runs(stack: Stack, tmp_path: Path, name: str) -> None:
    folder, page = page_runner.checkout(tmp_path), (ROOT / "docs" / name).read_text()
    how_to_pages.prepare(name, folder, stack)
    ran = 0
    with receiving() as receiver:
        (folder / ".variables").write_text(f"export HOOK={receiver.url}\n")
        for block in page_runner.blocks(page):
            if block.language == "console":
                ran += sum(how_to_pages.run_step(step, folder, stack) for step in page_runner.steps(block.code))
            elif block.language == "python" and block.code.splitlines()[0] not in how_to_pages.NOT_RUN:
                page_runner.run_python(block.code, folder, stack.url)
                ran += 1
    assert ran
