"""Celery as a doorbell: it tells somebody that there is something to do, and carries nothing else.

A **bell** is a Celery task naming a version. Its key says "somebody has been told, or is watching": it is set by
whoever rings, taken away by the drain that answers, and held by a drain that watches an emptied stream. So an idle
system rings once per request, a busy one hardly ever, and a key that outlives its owner lapses by itself.

Trainings have a broker of their own, a Redis database to which only trainers listen. Who is called decides which
broker is used; callers name the task only.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import redis
from celery import Celery
from kombu.entity import Exchange
from kombu.entity import Queue as CeleryQueue
from kombu.exceptions import OperationalError

from shared.queue.base import Base, answering
from shared.settings import Settings

log = logging.getLogger(__name__)

BELL_SECONDS = 5.0
MESSAGE_SECONDS = 60.0
"""A Celery message that nobody heard for so long is dropped: the sweep has sent others. Clocks may differ by less."""
BELLS = "bells"
"""The Celery queue of those who run models."""
HOUSE = "house"
"""The Celery queue of the housekeeper."""
TRAININGS = "trainings"
"""The Celery queue of those who train models, on a broker of its own."""
_ROUTES = {
    "drain": BELLS, "check": BELLS, "sweep": HOUSE, "deliver": HOUSE, "train": TRAININGS, "load": TRAININGS,
}  # fmt: skip


def celery_app(settings: Settings) -> Celery:
    """What workers and the housekeeper listen with."""
    return _celery(settings, settings.redis_url, (HOUSE, BELLS))


def training_app(settings: Settings) -> Celery:
    """What trainers listen with: a broker of their own, with times of its own."""
    # Seconds after which a message that was taken and never acknowledged is handed out again. They matter little: bells
    # are acknowledged before the training begins, so only a trainer that dies in that moment leaves one, which has
    # expired by then. A training may well take longer; what a dead trainer held is for the sweep to find, not for this.
    return _celery(settings, settings.training_broker_url, (TRAININGS,), visibility_timeout=3600)


def _celery(settings: Settings, url: str, queues: tuple[str, ...], **transport: float) -> Celery:
    """Celery as a doorbell: no results, no retries, early acknowledgement, since SQL and the sweep make it safe.

    The first of the queues is for tasks that name none.
    """
    app = Celery("inferq", broker=url, set_as_current=False)
    app.conf.update(
        broker_transport_options={
            "global_keyprefix": settings.broker_prefix,
            "socket_timeout": 10,
            "socket_connect_timeout": 3,
            "socket_keepalive": True,
            "health_check_interval": 10,
            "retry_on_timeout": True,
            **transport,
        },
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # The nameless exchange routes by queue name alone. A named one keeps its bindings in Redis, and after a
        # FLUSHALL every bell would be dropped without a word until all workers were restarted.
        task_queues=[CeleryQueue(name, Exchange(""), routing_key=name) for name in queues],  # type: ignore[no-untyped-call]
        task_default_queue=queues[0],
        task_default_exchange="",
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        worker_prefetch_multiplier=1,
        # A bell taken early and kept behind a running drain is a bell that no idle worker hears.
        worker_disable_prefetch=True,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        enable_utc=True,
        timezone="UTC",
    )
    return app


class Bells(Base):
    """Calling others, and knowing who has been called."""

    def __init__(self, settings: Settings, client: Any = None) -> None:
        super().__init__(settings, client)
        self._apps: dict[Callable[[Settings], Celery], Celery] = {}
        self._apps_lock = threading.Lock()

    def call(self, task: str, *arguments: str) -> bool:
        """Send a Celery task to its broker; False when it could not be sent, which the sweep makes good."""
        queue = _ROUTES[task]
        try:
            self._app(queue).send_task(task, arguments, queue=queue, retry=False, expires=MESSAGE_SECONDS)
        except (OperationalError, redis.RedisError, OSError) as error:
            log.warning("could not send %s%s: %s", task, arguments, error)
            return False
        return True

    def ring(self, version_id: str) -> None:
        """Tell one worker that there is something to do."""
        with answering():
            first = self._set_bell(self._redis, version_id)
        self._ring_out(version_id, bool(first))

    def answer(self, version_id: str) -> None:
        """The bell was heard; from now on a new picture rings again."""
        with answering():
            self._redis.delete(self._key("bell", version_id))

    def has_bell(self, version_id: str) -> bool:
        with answering():
            return bool(self._redis.exists(self._key("bell", version_id)))

    def close(self) -> None:
        for app in self._apps.values():
            app.close()
        super().close()

    def _set_bell(self, client: Any, version_id: str) -> Any:
        return client.set(self._key("bell", version_id), "rung", nx=True, px=int(BELL_SECONDS * 1000))

    def _ring_out(self, version_id: str, first: bool) -> None:
        if first and not self.call("drain", version_id):
            self.answer(version_id)

    def _bells_waiting(self) -> bool:
        with answering():
            return bool(self._redis.llen(f"{self._settings.broker_prefix}{BELLS}"))

    def _app(self, queue: str) -> Celery:
        """Celery on the broker that has this queue, made when it is first needed."""
        make = training_app if queue == TRAININGS else celery_app
        with self._apps_lock:
            if make not in self._apps:
                self._apps[make] = make(self._settings)
            return self._apps[make]
