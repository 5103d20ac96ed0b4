"""The application factory registers the dialects and passes every failure to the dialect of the requested path."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

from flask import current_app, g, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import ClientDisconnected, HTTPException, MethodNotAllowed, NotFound, RequestEntityTooLarge
from werkzeug.middleware.proxy_fix import ProxyFix

from api import (
    auth,
    content_encoding,
    cors,
    dialects,
    form_parser,
    health,
    metrics,
    reading,
    request_ids,
    room,
    server_timing,
    throttle,
    tracing,
    web,
)
from api.context import link, request_places
from api.coroutine_routes import Flask
from api.load_shedding import HOLDS_FOR
from api.request_metrics import RequestMetrics
from shared import errors
from shared.container import Container
from shared.domain.sizes import exactly
from shared.services.queue_limits import COUNT_MAX_AGE
from shared.settings import Settings

log = logging.getLogger(__name__)

LOGGED = 500
"""Letters of a path that a log line tells: a server takes many more."""


def create_app(container: Container) -> Flask:
    """Return the WSGI application over the given container."""
    settings = container.settings
    app = Flask(__name__, static_folder=None)
    app.request_class = form_parser.FormRequest
    app.extensions["inferq"] = container
    app.extensions |= request_places(settings)
    app.config.update(
        MAX_CONTENT_LENGTH=settings.max_body,
        # Base64 pictures come in form fields, and a job of many files has as many parts.
        MAX_FORM_MEMORY_SIZE=settings.max_picture * 4 // 3 + 4096,
        MAX_FORM_PARTS=settings.max_files + 100,
    )
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False  # merging would redirect; OneSlash below answers at once
    app.wsgi_app = OneSlash(app.wsgi_app)  # type: ignore[method-assign]
    if proxies := settings.trusted_proxies:
        app.wsgi_app = ProxyFix(app.wsgi_app, proxies, proxies, proxies, x_prefix=proxies)  # type: ignore[method-assign]
    all_dialects = dialects.find()
    for dialect in all_dialects:
        for blueprint in dialect.blueprints(settings):
            app.register_blueprint(blueprint)
    app.register_blueprint(health.bp)
    app.register_blueprint(metrics.bp)
    app.register_blueprint(web.bp)
    app.before_request(request_ids.begin)
    if settings.otlp_endpoint:
        tracing.register(app)
    request_metrics = RequestMetrics(all_dialects)
    app.before_request(request_metrics.begin)
    app.before_request(cors.answer_preflight)
    app.before_request(auth.authenticate)
    app.before_request(lambda: throttle.count(all_dialects))
    app.before_request(room.check)
    app.before_request(content_encoding.unpack)
    app.after_request(request_metrics.count)  # the first is called last
    app.after_request(cors.add_headers)
    app.after_request(server_timing.add_header)
    app.after_request(throttle.add_headers)
    app.after_request(request_ids.add_header)
    app.after_request(reading.discard)
    app.register_error_handler(Exception, lambda error: _error_response(all_dialects, error))
    return app


class OneSlash:
    """Middleware that merges doubled slashes in a path: clients join a base URL that ends in a slash with a path."""

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        self._app = app

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        while "//" in path:
            path = path.replace("//", "/")
        environ["PATH_INFO"] = path
        return self._app(environ, start_response)


def _error_response(all_dialects: list[dialects.Dialect], error: Exception) -> ResponseReturnValue:
    if page := web.find_missing_page(request, error):
        return page
    problem = _as_inferq_error(error)
    if problem.status >= 500 and not isinstance(problem, (errors.Unavailable, errors.QuotaExceeded)):
        log.error("%s %s failed", request.method, _one_line(request.path[:LOGGED]), exc_info=error)
    else:
        path, message = _one_line(request.path[:LOGGED]), _one_line(problem.message)
        log.info("%s %s refused: %d %s: %s", request.method, path, problem.status, problem.code, message)
    response = current_app.make_response(dialects.speaking(all_dialects, request.path).write_error(problem))
    if problem.retry_after is not None:
        response.headers["Retry-After"] = str(max(1, round(problem.retry_after)))
    if isinstance(error, errors.Overloaded) and error.holds and _is_same_for_every_body():
        request.environ[HOLDS_FOR] = COUNT_MAX_AGE  # a look at the queue would tell the same
    if problem.job_id:  # it is stored, so its caller can come back for it
        response.headers.setdefault("Location", link(f"/v1/jobs/{problem.job_id}"))
    if isinstance(error, errors.UnsupportedEncoding):
        response.headers["Accept-Encoding"] = ", ".join(content_encoding.ENCODINGS)
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        response.headers["Allow"] = ", ".join(sorted(error.valid_methods))
    return response


def _is_same_for_every_body() -> bool:
    """Return whether the answer would be the same for another picture: the body has no options, the request is no
    repeat of an idempotency key, the answer says nothing of the caller's allowance, and no picture is answered from a
    cache."""
    is_picture = request.mimetype.startswith("image/")  # without this type, some bodies may be JSON
    is_first = "Idempotency-Key" not in request.headers and not g.get("may_be_cached", False)
    return is_picture and is_first and g.get("window") is None


def _one_line(text: str) -> str:
    """Return untrusted text escaped for a log: unprintable characters become escapes, so it cannot start a new line."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def _as_inferq_error(error: Exception) -> errors.InferqError:
    """Return any exception as an InferqError; an unexpected exception becomes a fixed sentence without its details."""
    if isinstance(error, errors.InferqError):
        return error
    if errors.is_disk_full(error):  # such as the folder in which an upload is kept while it arrives
        return errors.StorageFull("The disk of the service is full; make room on it.")
    if isinstance(error, (BlockingIOError, TimeoutError, ConnectionError, ClientDisconnected)):
        late = errors.BadRequest("The body did not arrive in time.")
        late.status = 408
        return late
    if isinstance(error, HTTPException) and 400 <= (error.code or 500) < 500:
        return _http_error(error)
    return errors.InferqError("Something went wrong on our side; it has been logged.")


def _http_error(error: HTTPException) -> errors.InferqError:
    """Return the InferqError for a request that Flask or Werkzeug itself refused (4xx)."""
    if isinstance(error, RequestEntityTooLarge):
        limit = request.max_content_length
        return errors.TooLarge(
            f"The body is larger than is allowed ({exactly(limit or 0)}), or has too many or too large fields; send "
            "fewer pictures at once, as file parts."
        )
    if isinstance(error, NotFound):
        return errors.NotFound(f"There is nothing at {request.path}.")
    if isinstance(error, MethodNotAllowed):
        # Without those that every path has; the header names them all.
        allowed = ", ".join(sorted({*(error.valid_methods or ())} - {"HEAD", "OPTIONS"}))
        return errors.MethodNotAllowed(f"{request.method} is not allowed here; allowed: {allowed}.")
    bad_request = errors.BadRequest(error.description or "The request cannot be understood.")
    bad_request.status = error.code or 400
    return bad_request


__all__ = ["Settings", "create_app"]
