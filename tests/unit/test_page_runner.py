"""The comparison of pages with what commands print: what may differ, and what may not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests import page_runner
from tests.page_runner import Step

SHOWN = "file      label   score\n ───────\n 40.png   three   0.9971   ━━━━·\n…\nfigures 2"


@pytest.mark.parametrize(
    "printed",
    [
        SHOWN,
        "file label score\n──────────\n12.png three 1.0000 ━━━━━━━━\nmany\nlines\nfigures 2\nand more",
        "file label score\n40.png three 0.5\nfigures 2",
    ],
)
def test_numbers_bars_spaces_and_what_is_left_out_may_differ(printed: str) -> None:
    assert re.search(page_runner.pattern(SHOWN), printed, re.DOTALL)


@pytest.mark.parametrize(
    "printed",
    [
        SHOWN.replace("three", "eight"),
        SHOWN.replace("figures 2", "figures 1"),
        SHOWN.replace("score", "probability"),
    ],
)
def test_words_and_single_digits_may_not(printed: str) -> None:
    assert not re.search(page_runner.pattern(SHOWN), printed, re.DOTALL)


def test_a_block_is_split_into_commands_and_what_they_print() -> None:
    block = '$ one \\\n  more  # why\n$ two\n{"a": 1,\n "b": 2}\n'
    assert page_runner.steps(block) == [Step("one more  # why", ""), Step("two", '{"a": 1,\n "b": 2}')]


def test_a_step_sees_the_variables_of_the_one_before(tmp_path: Path) -> None:
    page_runner.run(Step("word=$(echo hello)", ""), tmp_path, "http://unused")
    assert page_runner.run(Step("echo $word", "hello"), tmp_path, "http://unused") == "hello\n"


def test_a_page_runs_in_its_order_and_a_block_is_saved_under_the_name_that_the_page_gives(tmp_path: Path) -> None:
    page = (
        "Save this as `word.py`, beside it:\n\n```python\nWORD = 'hello'\n```\n\nThen:\n\n"
        "```python\nfrom word import WORD\n\nprint(WORD)  # hello\n```\n\n```console\n$ ls word.py\nword.py\n```\n"
    )
    assert page_runner.run_page(page, tmp_path, "http://unused") == 2


@pytest.mark.parametrize("step", [Step("false | cat", ""), Step("echo yes", "no")])
def test_a_command_that_fails_or_prints_something_else_fails_the_test(tmp_path: Path, step: Step) -> None:
    with pytest.raises(AssertionError):
        page_runner.run(step, tmp_path, "http://unused")
