"""HTTP in, HTTP out: the factory that finds the dialects and gives every failure to the one whose path it is."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

from flask import Flask, current_app, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound, RequestEntityTooLarge

from api import auth, dialects, health, web
from api.context import Seats
from shared import errors
from shared.settings import Settings
from shared.tools import Tools

log = logging.getLogger(__name__)


def create_app(tools: Tools) -> Flask:
    """The WSGI application over the given tools."""
    settings = tools.settings
    app = Flask(__name__, static_folder=None)
    app.extensions["inferq"] = tools
    app.extensions["inferq.seats"] = Seats(settings.api_threads)
    app.config.update(
        MAX_CONTENT_LENGTH=settings.max_body,
        # Base64 pictures come in form fields, and a job of many files has as many parts.
        MAX_FORM_MEMORY_SIZE=settings.max_picture * 4 // 3 + 4096,
        MAX_FORM_PARTS=settings.max_files + 100,
    )
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False  # it would redirect; OneSlash below answers at once
    app.wsgi_app = OneSlash(app.wsgi_app)  # type: ignore[method-assign]
    found = dialects.find()
    for dialect in found:
        for blueprint in dialect.blueprints(settings):
            app.register_blueprint(blueprint)
    app.register_blueprint(health.bp)
    app.register_blueprint(web.bp)
    app.before_request(auth.authenticate)
    app.register_error_handler(Exception, lambda error: _complain(found, error))
    return app


class OneSlash:
    """Doubled slashes in a path count as one: clients join a base URL that ends in a slash with a path."""

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        self._app = app

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        while "//" in path:
            path = path.replace("//", "/")
        environ["PATH_INFO"] = path
        return self._app(environ, start_response)


def _complain(found: list[dialects.Dialect], error: Exception) -> ResponseReturnValue:
    known = _known(error)
    if known.status >= 500 and not isinstance(known, errors.Unavailable):
        log.error("%s %s failed", request.method, request.path, exc_info=error)
    else:
        log.info("%s %s refused: %d %s: %s", request.method, request.path, known.status, known.code, known.message)
    made = current_app.make_response(dialects.speaking(found, request.path).write_error(known))
    if known.retry_after is not None:
        made.headers["Retry-After"] = str(max(1, round(known.retry_after)))
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        made.headers["Allow"] = ", ".join(sorted(error.valid_methods))
    return made


def _known(error: Exception) -> errors.InferqError:
    """Any exception as one of ours; what is not ours is told to the caller in a fixed sentence."""
    if isinstance(error, errors.InferqError):
        return error
    if isinstance(error, RequestEntityTooLarge):
        return errors.TooLarge()
    if isinstance(error, NotFound):
        return errors.NotFound(f"There is nothing at {request.path}.")
    if isinstance(error, HTTPException):
        status = error.code or 500
        if status == 405:
            allowed = ", ".join(sorted(getattr(error, "valid_methods", None) or ()))
            return errors.MethodNotAllowed(f"{request.method} is not allowed here; allowed: {allowed}.")
        if 400 <= status < 500:
            made = errors.BadRequest(error.description or "The request cannot be understood.")
            made.status = status
            return made
    return errors.InferqError("Something went wrong on our side; it has been logged.")


__all__ = ["Settings", "create_app"]
