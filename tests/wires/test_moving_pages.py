"""The pages about moving here: their snippets run unchanged with the genuine clients, and print what they say."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import digit_images, page_runner, stacks
from tests.page_runner import ROOT
from tests.stacks import SAMPLES, Stack

PAGES = ROOT / "docs" / "moving"

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack with a trainer, on which a page may create the first key."""
    with stacks.running(tmp_path_factory.mktemp("moving") / "data", "--workers", "1", trainer=True) as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder to run snippets in, with the pictures and the dataset that the pages name."""
    shutil.copy(SAMPLES / "digit_7.png", tmp_path / "seven.png")
    (tmp_path / "three.png").write_bytes(digit_images.pictures(3)[90])
    (tmp_path / "numbers.tgz").write_bytes(digit_images.archive(digit_images.files({3: 40, 5: 40, 8: 40})))
    return tmp_path


@pytest.mark.node
@pytest.mark.parametrize(("name", "file"), [("sap-leonardo", "page.cjs"), ("hugging-face", "page.mjs")])
def test_the_javascript_of_the_page_prints_what_it_says(
    stack: Stack, npm: Path, folder: Path, name: str, file: str
) -> None:
    (code,) = page_runner.codes((PAGES / f"{name}.md").read_text(), "js")
    (folder / "node_modules").symlink_to(npm / "node_modules")
    page_runner.run_code(code, folder, stack.url, ("node",), file)


# Einstein Vision comes last: its page creates the first key, and from then on every request needs one.
@pytest.mark.parametrize("name", ["hugging-face", "img-processing", "sap-leonardo", "einstein-vision"])
def test_the_commands_and_the_python_of_the_page_print_what_it_shows(stack: Stack, folder: Path, name: str) -> None:
    assert page_runner.run_page((PAGES / f"{name}.md").read_text(), folder, stack.url) > 1
