"""A headless Chromium: it opens the pages of a running stack, and fails a test for whatever it complains of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.needed import missing
from tests.pages.browsing import Browsing, launched


@pytest.fixture(scope="module")
def browser() -> Iterator[Browsing]:
    """The browser of one file of tests. Longer it must not live: its event loop would run below the other tests."""
    with ExitStack() as until_then:
        try:
            chromium = until_then.enter_context(launched())
        except LookupError as what:
            missing(str(what.args[0]))
        yield chromium


@pytest.fixture
def browsing(browser: Browsing) -> Iterator[Browsing]:
    """The browser for one test; the test fails for errors in the console and for exceptions of scripts."""
    yield browser
    assert browser.end() == []
