"""The site of the pages: it builds without a warning, holds every page, and loads nothing from another host."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.page_runner import ROOT

pytest.importorskip("sphinx", reason="the extra `docs` is not installed")
pytest.importorskip("myst_parser", reason="the extra `docs` is not installed")
pytest.importorskip("furo", reason="the extra `docs` is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.long]

LOADED = (
    r"<(?:script|img|iframe|source)[^>]*\ssrc=\"([^\"]+)\""
    r"|<link[^>]*rel=\"(?:stylesheet|icon|preload)\"[^>]*href=\"([^\"]+)\""
)
"""What a browser loads by itself, unlike the target of a link that is clicked."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site, as `make docs` builds it; a link that leads nowhere is a warning, and a warning is an error."""
    folder = tmp_path_factory.mktemp("site")
    command = re.search(r"^docs: .*\n\t@\$\(BIN\)/python (-m sphinx .*) build/site$", makefile(), re.MULTILINE)
    assert command
    arguments = [*command[1].split(), str(folder / "html"), "--doctree-dir", str(folder / "read")]
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=os.environ | unreachable(), capture_output=True, text=True,
        timeout=110, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder / "html"


def makefile() -> str:
    return (ROOT / "Makefile").read_text()


def unreachable() -> dict[str, str]:
    """Return variables with which no request would get through."""
    return dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9")


def test_every_page_is_in_the_site(site: Path) -> None:
    pages = [page.relative_to(ROOT) for page in (ROOT / "docs").rglob("*.md")]
    assert len(pages) > 70
    assert [page for page in pages if not (site / page).with_suffix(".html").is_file()] == []


def test_every_page_can_be_reached_from_the_first(site: Path) -> None:
    left, seen = [site / "docs" / "index.html"], set[Path]()
    while left:
        page = left.pop()
        if page not in seen:
            seen.add(page)
            targets = re.findall(r"href=\"([^\"#:]+\.html)", page.read_text())
            left += [(page.parent / target).resolve() for target in targets]
    built = {page for page in site.rglob("*.html") if page.name not in ("genindex.html", "search.html")}
    assert built - seen == set()


def test_a_page_loads_nothing_from_another_host(site: Path) -> None:
    loaded = {
        address
        for page in site.rglob("*.html")
        for found in re.findall(LOADED, page.read_text())
        for address in found
        if address
    }
    assert loaded
    assert [address for address in loaded if re.match(r"(?:https?:)?//", address)] == []
    styles = [style.read_text() for style in site.rglob("*.css")]
    assert styles
    assert [style for style in styles if re.search(r"(?:@import|url\()\s*['\"]?(?:https?:)?//", style)] == []
