"""Routes that wait are coroutines, and hold no thread while they do.

    async def poll(job_id: str) -> Response:
        job = await wait_for(jobs.get(…), seconds)      # the thread serves other requests meanwhile
        return respond(job)

They are run without asyncio, in the threads of the server, since all else that a route calls blocks. They can await
nothing but the waits of shared/adapters/queue/waiters.py. The context of Flask goes along with the request.
"""

from __future__ import annotations

import contextvars
import inspect
from collections.abc import Callable, Iterable
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeAlias

import flask
from flask.ctx import RequestContext
from flask.typing import ResponseReturnValue

from shared.adapters.pauses import Pause, Waiting

LATER = "inferq.later"
"""Key of the WSGI environment under which a server offers to answer a request later: see Later. Under any other server,
the thread waits."""
NOT_YET: list[bytes] = []
"""What the application returns in place of a body when it answers later."""
StartResponse: TypeAlias = Callable[..., Any]
GoOn: TypeAlias = Callable[[StartResponse], Iterable[bytes]]
Later: TypeAlias = Callable[[Pause, GoOn], None]
"""Has the rest of a request run, when its pause is over, by a thread of the server. It may return NOT_YET again."""


class _Paused(BaseException):  # no Exception, for those are errors to be answered
    def __init__(self, waiting: Waiting[ResponseReturnValue], pause: Pause) -> None:
        self.waiting, self.pause = waiting, pause


class Flask(flask.Flask):
    """Flask, whose routes may be coroutines."""

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function as it is; Flask would run a coroutine in an event loop of asyncio."""
        return func

    def dispatch_request(self) -> ResponseReturnValue:
        """Run the route; raises _Paused when it waits."""
        returned = super().dispatch_request()
        return _advance(returned) if inspect.iscoroutine(returned) else returned

    def wsgi_app(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request (PEP 3333), in a context of its own, which stays as it is while the request waits."""
        context, opened = contextvars.copy_context(), self.request_context(environ)
        context.run(opened.push)
        return self._go_on(context, opened, self.full_dispatch_request, start_response)

    def _go_on(
        self,
        context: contextvars.Context,
        opened: RequestContext,
        dispatch: Callable[[], flask.Response],
        start_response: StartResponse,
    ) -> Iterable[bytes]:
        answer = context.run(self._answer, opened, dispatch, start_response)
        if not isinstance(answer, _Paused):
            return answer
        # Outside of the context, which the thread that goes on enters.
        rest = partial(self._go_on, context, opened, partial(self._resume, answer.waiting))
        later: Later | None = opened.request.environ.get(LATER)
        if later is not None:
            later(answer.pause, rest)
            return NOT_YET
        resumed: SimpleQueue[None] = SimpleQueue()
        answer.pause.start(lambda: resumed.put(None))
        resumed.get()
        return rest(start_response)

    def _answer(
        self, opened: RequestContext, dispatch: Callable[[], flask.Response], start_response: StartResponse
    ) -> Iterable[bytes] | _Paused:
        """Return the answer, as `flask.Flask.wsgi_app` does; or the pause, without closing the request."""
        failure: BaseException | None = None
        try:
            try:
                response = dispatch()
            except Exception as error:  # noqa: BLE001 - as Flask does
                failure = error
                response = self.handle_exception(error)
            answer = response(opened.request.environ, start_response)
        except _Paused as paused:
            return paused
        except BaseException as error:
            opened.pop(error)
            raise
        opened.pop(failure)
        return answer

    def _resume(self, waiting: Waiting[ResponseReturnValue]) -> flask.Response:
        """Return the response of a route that has waited, as `full_dispatch_request` does."""
        try:
            returned = _advance(waiting)
        except Exception as error:  # noqa: BLE001 - as Flask does
            returned = self.handle_user_exception(error)
        return self.finalize_request(returned)


def _advance(waiting: Waiting[ResponseReturnValue]) -> ResponseReturnValue:
    try:
        pause = waiting.send(None)
    except StopIteration as end:
        returned: ResponseReturnValue = end.value
        return returned
    raise _Paused(waiting, pause)
