"""The pages people look at; they work offline, so nothing on them comes from anywhere else."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from flask import Blueprint, Response, current_app, jsonify, redirect, render_template, send_from_directory
from flask.typing import ResponseReturnValue

from api.auth import public
from api.context import tools
from api.web import openapi

bp = Blueprint("web", __name__, template_folder="templates", static_folder="static", static_url_path="/static")

POLICY = "default-src 'self'; img-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""Nothing from elsewhere, no inline scripts: the page holds a key, and shows what strangers called their files."""


@bp.get("/")
@public
def home() -> ResponseReturnValue:
    """The way to the page below."""
    return redirect("/docs")


@bp.get("/docs")
@public
def docs() -> ResponseReturnValue:
    """A page made from the OpenAPI document, with a form to try each call."""
    response = Response(render_template("docs.html", version=_version()))
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


@bp.get("/openapi.json")
@public
def document() -> ResponseReturnValue:
    """This document (OpenAPI 3.1)."""
    return jsonify(openapi.describe(current_app, tools().settings, _version()))


@bp.get("/favicon.ico")
@public
def icon() -> ResponseReturnValue:
    """For browsers that look at an answer of ours, and ask by habit."""
    return send_from_directory(str(bp.static_folder), "favicon.svg")


def _version() -> str:
    try:
        return version("inferq")
    except PackageNotFoundError:  # run from a folder that was never installed
        return "0"
