"""The web pages of the service; they work offline, so they load nothing from other hosts."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from flask import Blueprint, Response, current_app, jsonify, redirect, render_template, send_from_directory
from flask.typing import ResponseReturnValue

from api.auth import public
from api.context import container
from api.web import openapi

bp = Blueprint("web", __name__, template_folder="templates", static_folder="static", static_url_path="/static")

POLICY = "default-src 'self'; img-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""The policy forbids other hosts and inline scripts: the page holds a key, and shows untrusted file names."""


@bp.get("/")
@public
def home() -> ResponseReturnValue:
    """The way to the page below."""
    return redirect("/docs")


@bp.get("/docs")
@public
def docs() -> ResponseReturnValue:
    """A page made from the OpenAPI document, with a form to try each call."""
    return _page("docs", "Calls", "The calls")


@bp.get("/ui")
@public
def start() -> ResponseReturnValue:
    """The first of the pages below."""
    return redirect("/ui/datasets")


@bp.get("/ui/datasets")
@public
def datasets() -> ResponseReturnValue:
    """The caller's datasets, and a place to drop an archive that becomes one."""
    return _page("datasets", "Datasets", "Datasets", "Labelled pictures to train on.")


@bp.get("/ui/datasets/<reference>")
@public
def dataset(reference: str) -> ResponseReturnValue:
    """One dataset: its labels and pictures, and a form that starts a training."""
    return _page("dataset", "Datasets", "A dataset")


@bp.get("/ui/trainings")
@public
def trainings() -> ResponseReturnValue:
    """The caller's trainings, and how far they are."""
    return _page("trainings", "Trainings", "Trainings", "Each makes a version of a model out of a dataset.")


@bp.get("/ui/trainings/<training_id>")
@public
def training(training_id: str) -> ResponseReturnValue:
    """One training, live while it runs; then with what was measured."""
    return _page("training", "Trainings", "A training")


@bp.get("/ui/models")
@public
def models() -> ResponseReturnValue:
    """The caller's models with their versions: compare, promote, roll back, and try on a share of the traffic."""
    return _page("models", "Models", "Models", "Each answers with its default version; others can be tried beside it.")


@bp.get("/openapi.json")
@public
def document() -> ResponseReturnValue:
    """This document (OpenAPI 3.1)."""
    return jsonify(openapi.describe(current_app, container().settings, _version()))


@bp.get("/favicon.ico")
@public
def icon() -> ResponseReturnValue:
    """For browsers that look at an answer of ours, and ask by habit."""
    return send_from_directory(str(bp.static_folder), "favicon.svg")


def _page(name: str, here: str, title: str, about: str = "") -> Response:
    """Return the page whose script has that name. It holds no data: its script fetches them with the key typed in."""
    template = "docs.html" if name == "docs" else "shell.html"
    response = Response(render_template(template, page=name, here=here, title=title, about=about, version=_version()))
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def _version() -> str:
    try:
        return version("inferq")
    except PackageNotFoundError:  # the package runs from a folder that was never installed
        return "0"
