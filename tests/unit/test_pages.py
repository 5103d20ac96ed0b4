"""The pages: they need no key, load no file from elsewhere, and escape what callers wrote."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from html import escape
from pathlib import Path

import pytest
from flask import Flask

from api import web
from api.application import create_app
from shared import samples
from shared.container import build
from shared.settings import Settings

PATHS = (
    "/",
    "/docs",
    "/ui/jobs",
    "/ui/jobs/some-id",
    "/ui/fleet",
    "/ui/datasets",
    "/ui/datasets/7",
    "/ui/trainings",
    "/ui/trainings/some-id",
    "/ui/models",
    "/ui/models/some-name",
    "/ui/models/some-name/versions/1",
    "/ui/models/some-name/suggestions",
    "/ui/webhooks",
    "/ui/keys",
)
EACH = pytest.mark.parametrize("path", PATHS)
STATIC = Path(web.__file__).parent / "static"
SCRIPTS = sorted(STATIC.glob("*.js"))
EACH_SCRIPT = pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
NAMESPACE = "http://www.w3.org/2000/svg"
"""Looks like a URL, and is the name of an XML namespace that is never fetched."""


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    """The app over a container whose adapters never connect."""
    folder: Path = tmp_path_factory.mktemp("pages")
    container = build(Settings(database_url=f"sqlite:///{folder}/jobs.db", storage_url=f"file://{folder}/blobs"))
    yield create_app(container)
    container.close()


def text(app: Flask, path: str) -> str:
    with app.test_client().get(path) as answer:
        assert answer.status_code == 200, path
        return answer.get_data(as_text=True)


def scripts_of(page: str) -> set[str]:
    """Return the names of the scripts that a page loads, and that those load."""
    scripts: set[str] = set()
    left = re.findall(r'<script [^>]*src="/static/(\w+\.js)"', page)
    while left:
        name = left.pop()
        if name not in scripts:
            scripts.add(name)
            left += re.findall(r'from "\./(\w+\.js)"', (STATIC / name).read_text())
    return scripts


@cache
def exports(script: Path) -> set[str]:
    return set(re.findall(r"^export (?:async )?(?:function\*?|const|class) ([\w$]+)", script.read_text(), re.MULTILINE))


@EACH
def test_a_page_needs_no_key_and_lets_nothing_of_others_run(app: Flask, path: str) -> None:
    with app.test_client().get(path, environ_base={"REMOTE_ADDR": "203.0.113.9"}) as page:
        assert page.status_code == 200
        assert page.mimetype == "text/html"
        assert page.headers["Content-Security-Policy"] == web.POLICY
        assert page.headers["X-Content-Type-Options"] == "nosniff"
    assert "unsafe-inline" not in web.POLICY


@EACH
def test_everything_that_a_page_is_made_of_is_served(app: Flask, path: str) -> None:
    page = text(app, path)
    parts = set(re.findall(r'(?:href|src)="(/static/[^"]+)"', page))
    assert parts > {"/static/base.css", "/static/favicon.svg"}
    for part in parts | {f"/static/{name}" for name in scripts_of(page)}:
        with app.test_client().get(part, environ_base={"REMOTE_ADDR": "203.0.113.9"}) as answer:
            assert answer.status_code == 200, part
            assert (answer.mimetype or "").endswith(("css", "javascript", "svg+xml")), part


@EACH
def test_a_page_has_no_script_and_no_style_in_it(app: Flask, path: str) -> None:
    page = text(app, path)
    assert not re.search(r"<style|\sstyle=|\son\w+=", page)
    assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", page))


@EACH
def test_a_page_leads_to_the_others_and_says_which_it_is(app: Flask, path: str) -> None:
    page = text(app, path)
    leads = re.findall(r'<li[^>]*><a href="([^"]+)"', page)
    assert leads == [page for page, _, _ in web.PAGES]
    assert len(leads) == 9
    (here,) = re.findall(r'<a href="([^"]+)" class="here" aria-current="page"', page)
    assert here == max((lead for lead in leads if path.startswith(lead)), key=len)


def test_nothing_comes_from_elsewhere(app: Flask) -> None:
    for file in (*STATIC.iterdir(), *(Path(web.__file__).parent / "templates").iterdir()):
        assert not re.search(r"""(https?:|["'(])//""", file.read_text().replace(NAMESPACE, "")), file.name


def test_no_script_lies_around_unused(app: Flask) -> None:
    assert {name for path in PATHS for name in scripts_of(text(app, path))} == {script.name for script in SCRIPTS}


@EACH_SCRIPT
def test_a_script_takes_from_others_what_they_give(script: Path) -> None:
    for names, other in re.findall(r'^import \{([^}]+)\} from "\./(\w+\.js)"', script.read_text(), re.MULTILINE):
        assert set(re.findall(r"[\w$]+", names)) <= exports(STATIC / other)


@EACH_SCRIPT
def test_a_script_makes_no_markup_of_texts(script: Path) -> None:
    markup = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc"
    assert not re.search(markup, script.read_text())


@EACH_SCRIPT
def test_only_one_script_knows_where_the_key_is_kept(script: Path) -> None:
    assert ("sessionStorage" in script.read_text()) == (script.name == "api.js")
    assert not re.search(r"localStorage|document\.cookie", script.read_text())


def test_the_reference_names_files_as_the_document_does() -> None:
    assert ".jpg" not in (STATIC / "trial.js").read_text()
    assert "examples" in (STATIC / "trial.js").read_text()


BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


@pytest.mark.parametrize("path", ["/nowhere", "/ui/nowhere", "/models/a/b/c/d", "/static/nowhere.js", "/<i>"])
def test_a_browser_gets_a_page_with_the_way_back_for_an_address_that_does_not_exist(app: Flask, path: str) -> None:
    with app.test_client().get(path, headers=BROWSER) as answer:
        assert (answer.status_code, answer.mimetype) == (404, "text/html")
        assert answer.headers["Content-Security-Policy"] == web.POLICY
        page = answer.get_data(as_text=True)
        assert f"<code>{escape(path)}</code>" in page
        assert '<a href="/">Try it</a>' in page


@pytest.mark.parametrize("accept", ["*/*", "application/json", "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2"])
def test_a_client_gets_the_error_of_its_wire_for_an_address_that_does_not_exist(app: Flask, accept: str) -> None:
    with app.test_client().get("/nowhere", headers={"Accept": accept}) as answer:
        assert (answer.status_code, answer.mimetype) == (404, "application/problem+json")


def test_what_does_not_exist_at_an_address_that_does_is_no_page(app: Flask) -> None:
    for method, path in (("GET", "/samples/nowhere.png"), ("POST", "/nowhere"), ("POST", "/docs")):
        with app.test_client().open(path, method=method, headers=BROWSER) as answer:
            assert answer.mimetype == "application/problem+json"


def test_every_sample_on_the_front_page_is_served_with_its_licence(app: Flask) -> None:
    page = text(app, "/")
    named = re.findall(r'<img src="(/samples/[^"]+)"', page)
    assert len(named) == len(samples.PHOTOS)
    assert all(f'title="{photo.terms}"' in page for photo in samples.PHOTOS)
    for path in named:
        with app.test_client().get(path, environ_base={"REMOTE_ADDR": "203.0.113.9"}) as answer:
            assert answer.status_code == 200
            assert (answer.mimetype or "").startswith("image/")


def test_without_the_samples_the_front_page_draws_none(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "installed", dict)
    assert "samples" not in text(app, "/")
