"""The pages people look at; they work offline, so nothing on them comes from anywhere else."""

from __future__ import annotations

from flask import Blueprint, redirect, render_template
from flask.typing import ResponseReturnValue

bp = Blueprint("web", __name__, template_folder="templates", static_folder="static", static_url_path="/static")


@bp.get("/")
def home() -> ResponseReturnValue:
    return redirect("/docs")


@bp.get("/docs")
def docs() -> ResponseReturnValue:
    """A page made from the OpenAPI document, with a form to try each call."""
    return render_template("docs.html")
