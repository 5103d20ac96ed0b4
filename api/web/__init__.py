"""The web pages of the service; they work offline, so they load nothing from other hosts."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from flask import Blueprint, Response, current_app, jsonify, redirect, render_template, send_from_directory
from flask.typing import ResponseReturnValue

from api.auth import public
from api.context import container, link
from api.web import openapi

bp = Blueprint("web", __name__, template_folder="templates", static_folder="static", static_url_path="/static")

POLICY = "default-src 'self'; img-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""The policy forbids other hosts and inline scripts: the page holds a key, and shows untrusted file names."""


@bp.get("/")
@public
def home() -> ResponseReturnValue:
    """Redirect to `/docs`."""
    return redirect(link("/docs"))


@bp.get("/docs")
@public
def docs() -> ResponseReturnValue:
    """Return the page of all calls, built from the OpenAPI document, with a form to try each."""
    return _page("docs", "Calls", "The calls")


@bp.get("/ui")
@public
def start() -> ResponseReturnValue:
    """Redirect to `/ui/datasets`."""
    return redirect(link("/ui/datasets"))


@bp.get("/ui/datasets")
@public
def datasets() -> ResponseReturnValue:
    """Return the page of the caller's datasets, with an upload of an archive as a new dataset."""
    return _page("datasets", "Datasets", "Datasets", "Labelled pictures for trainings.")


@bp.get("/ui/datasets/<reference>")
@public
def dataset(reference: str) -> ResponseReturnValue:
    """Return the page of one dataset: labels, pictures, and a form that starts a training."""
    return _page("dataset", "Datasets", "Dataset")


@bp.get("/ui/trainings")
@public
def trainings() -> ResponseReturnValue:
    """Return the page of the caller's trainings with their progress."""
    return _page("trainings", "Trainings", "Trainings", "Each training makes a version of a model from a dataset.")


@bp.get("/ui/trainings/<training_id>")
@public
def training(training_id: str) -> ResponseReturnValue:
    """Return the page of one training: live progress, then the evidence."""
    return _page("training", "Trainings", "Training")


@bp.get("/ui/models")
@public
def models() -> ResponseReturnValue:
    """Return the page of the caller's models: compare versions, promote, roll back, and set a canary."""
    about = "Each answers with its default version; a canary answers a share of the requests."
    return _page("models", "Models", "Models", about)


@bp.get("/openapi.json")
@public
def document() -> ResponseReturnValue:
    """Return this document (OpenAPI 3.1)."""
    described = openapi.describe(current_app, container().settings, _version())
    return jsonify(described | {"servers": [{"url": link("") or "/"}]})


@bp.get("/favicon.ico")
@public
def icon() -> ResponseReturnValue:
    """Return the icon that browsers request for every site."""
    return send_from_directory(str(bp.static_folder), "favicon.svg")


def _page(name: str, here: str, title: str, about: str = "") -> Response:
    """Return the page whose script has that name. It holds no data: the script fetches them with the entered key."""
    template = "docs.html" if name == "docs" else "shell.html"
    page = render_template(template, root=link(""), page=name, here=here, title=title, about=about, version=_version())
    response = Response(page)
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def _version() -> str:
    try:
        return version("inferq")
    except PackageNotFoundError:  # the package runs from a folder that was never installed
        return "0"
