"""What tests do in a browser: open pages as readers with different screens do, and look for faults in them."""

from __future__ import annotations

import importlib.util
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # without playwright the tests are skipped, not broken
    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
"""The first one draws no window, which saves a fifth of the time."""
OPTIONS = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", "--no-sandbox"]
"""A camera that films a pattern, and is allowed; no sandbox, which the root user of a container cannot have."""
WIDTHS = {"phone": 360, "tablet": 768, "desktop": 1280}
HEIGHT = 800
SCREENS = (("phone", "dark"), ("tablet", "light"), ("desktop", "light"))
EXAMINED = (SCREENS[0], SCREENS[2])
"""Those on which the rules of accessibility are examined, which takes a second: each scheme of colours, and a phone,
which hides the menu behind a button, as well as a screen that shows it."""
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}
"""The rules of axe: those of WCAG 2.1, A and AA, and what it calls best practice."""
AT_REST = "() => document.getAnimations().every(one => one.effect.getTiming().iterations === Infinity)"
"""Whether no transition is under way, in which colours are not yet what they become."""

LOADED = "() => !document.querySelector('main')?.innerText.includes('Loading …')"
"""Whether a page shows what it has asked for: on a busy machine the network may rest before it asks."""


@contextmanager
def launched() -> Iterator[Browsing]:
    """Yield a browser; raises LookupError with what is missing."""
    found = [path for name in NAMES if (path := shutil.which(name))]
    if not found:
        raise LookupError("Chromium")
    if not importlib.util.find_spec("playwright"):  # `make setup` installs it
        raise LookupError("playwright")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found[0], args=OPTIONS)
        yield Browsing(chromium)
        chromium.close()


@dataclass
class Browsing:
    """A browser, the pages that a test has opened in it, and the complaints of the browser about them."""

    browser: Browser
    contexts: list[BrowserContext] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)

    def open(self, url: str, *, screen: str = "desktop", scheme: Any = "light", key: str = "") -> Page:
        """Open a page in a browser of its own, that has a key in its tab if one is given."""
        context = self.browser.new_context(
            viewport={"width": WIDTHS[screen], "height": HEIGHT}, color_scheme=scheme, reduced_motion="reduce",
            permissions=["clipboard-read", "clipboard-write"],
        )  # fmt: skip
        context.set_default_timeout(15_000)
        self.contexts.append(context)
        if key:
            context.add_init_script(f"sessionStorage.setItem('inferq-key', '{key}')")
        page = context.new_page()
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.complaints.append(f"{page.url}: {error}"))
        page.goto(url)
        page.wait_for_load_state("networkidle")
        page.wait_for_function(LOADED)
        return page

    def expect(self, pattern: str) -> None:
        """Let the browser complain so: it reports each answer that is an error, also one that the page explains."""
        self.expected.append(pattern)

    def end(self) -> list[str]:
        """Close all pages; return what the browser complained of."""
        for context in self.contexts:
            context.close()
        found = [text for text in self.complaints if not any(re.search(each, text) for each in self.expected)]
        self.contexts, self.complaints, self.expected = [], [], []
        return found

    def _note(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.location.get('url', '')}: {message.text}")


def show(page: Page, screen: str, scheme: Any) -> None:
    """Show a page on another screen, light or dark."""
    page.set_viewport_size({"width": WIDTHS[screen], "height": HEIGHT})
    page.emulate_media(color_scheme=scheme)


def violations(page: Page) -> list[str]:
    """Return the rules of accessibility that a page breaks, each with the elements that do."""
    from axe_playwright_python.sync_playwright import Axe

    page.wait_for_function(AT_REST)
    broken = Axe().run(page, options=RULES).response["violations"]
    return [f"{rule['id']}: {', '.join(node['target'][0] for node in rule['nodes'])}" for rule in broken]


def overflow(page: Page) -> int:
    """Return by how many pixels a page is wider than its screen."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def fits(page: Page, also: Callable[[Page], object] = lambda page: None) -> None:
    """Check that a page with its content fits each of SCREENS and breaks no rule; `also` may find something else, and
    must find nothing."""
    found = {}
    for screen, scheme in SCREENS:
        show(page, screen, scheme)
        broken = violations(page) if (screen, scheme) in EXAMINED else []
        found[screen, scheme] = (overflow(page), broken, also(page) or None)
    assert found == dict.fromkeys(SCREENS, (0, [], None))


def tabs(page: Page, most: int = 100) -> list[str]:
    """Return what the Tab key leads to, from the top of the page to its end, as the names that are read out."""
    name = """() => { const at = document.activeElement;
      const image = at.querySelector('img');
      if (at === document.body) return '';
      return (at.getAttribute('aria-label') || at.innerText || image && image.alt || at.id || at.tagName).trim() }"""
    page.evaluate("document.activeElement.blur()")
    names: list[str] = []
    for _ in range(most):
        page.keyboard.press("Tab")
        if not (at := str(page.evaluate(name))):
            break
        names.append(at)
    return names
