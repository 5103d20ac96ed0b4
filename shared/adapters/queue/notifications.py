"""Notifications are Celery tasks that announce work for a model version, and carry no work themselves.

A notification names a model version. A Redis key marks it as pending: the sender sets the key, the consumer that
receives the task removes it, and a consumer that polls an empty stream keeps it set. So an idle system sends one task
per request and a busy one hardly any, and a key whose owner was killed expires by itself.

Trainings have a separate broker, a Redis database to which only trainers listen. The task determines the broker;
callers pass the name of the task only.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import redis
from celery import Celery
from celery.app.amqp import AMQP
from kombu.connection import Connection as BrokerConnection
from kombu.entity import Exchange
from kombu.entity import Queue as CeleryQueue
from kombu.exceptions import OperationalError

from shared import errors
from shared.adapters.queue.connection import Connection, translated_errors
from shared.settings import Settings

log = logging.getLogger(__name__)

NOTIFICATION_SECONDS = 5.0
"""Seconds for which a notification counts as pending; a lost notification is sent again after that."""
MOST_MESSAGES = 1000
"""Messages to workers that wait at most; maintenance sends those again that are still needed."""
RECONNECT_EVERY = 1.0
"""Seconds between two attempts to connect to a broker that is away."""
CONSUME = "drain"
"""The name of the task that consumes a version's streams. It is older than its function: the processes of a fleet
during an upgrade know the task by this name, as they know the queues `bells` and `house`."""
MODEL_QUEUE = "bells"
"""The Celery queue of the workers."""
MAINTENANCE_QUEUE = "house"
"""The Celery queue of maintenance."""
TRAINING_QUEUE = "trainings"
"""The Celery queue of the trainers, on a separate broker."""
_ROUTES = {
    CONSUME: MODEL_QUEUE,
    "check": MODEL_QUEUE,
    "check_import": MODEL_QUEUE,
    "check_with_rule": MODEL_QUEUE,
    "fit_rejection": MODEL_QUEUE,
    "measure_reference": MODEL_QUEUE,
    "export": MODEL_QUEUE,
    "deliver": MAINTENANCE_QUEUE,
    "train": TRAINING_QUEUE,
    "load": TRAINING_QUEUE,
}


class _PromptConnection(BrokerConnection):
    """A connection to a broker that is tried again at short intervals; Celery's grow to 30 seconds, and no setting
    changes them, so that after an outage of Redis pictures would wait for a worker that sleeps."""

    def ensure_connection(self, *arguments: Any, **options: Any) -> BrokerConnection:
        """Connect, however long that takes; the arguments are those of kombu."""
        every = {"interval_start": RECONNECT_EVERY, "interval_step": 0, "interval_max": RECONNECT_EVERY}
        super().ensure_connection(*arguments, **options | every)  # type: ignore[no-untyped-call]
        return self


class _PromptAMQP(AMQP):  # type: ignore[misc]
    """Makes Celery connect by _PromptConnection."""

    Connection = _PromptConnection


def celery_app(settings: Settings) -> Celery:
    """Create the Celery app of workers and maintenance."""
    return _celery(settings, settings.redis_url, (MAINTENANCE_QUEUE, MODEL_QUEUE))


def training_app(settings: Settings) -> Celery:
    """Create the Celery app of trainers, on the broker of the trainings."""
    # visibility_timeout: seconds after which an unacknowledged message is delivered again. Its value matters little: a
    # message is acknowledged before the training begins, so only a trainer that is killed in that moment leaves a
    # message behind, and that only wakes a trainer once more. A training may take longer than an hour; after a trainer
    # was killed, maintenance finds its work, not this timeout.
    return _celery(settings, settings.training_broker_url, (TRAINING_QUEUE,), visibility_timeout=3600)


def _celery(settings: Settings, url: str, queues: tuple[str, ...], **transport: float) -> Celery:
    """Create a Celery app for notifications, with early acknowledgement and without results or retries.

    Nothing is lost by that, since the work is stored in SQL and maintenance notifies again. The first of the queues is
    for tasks that name no queue.
    """
    app = Celery("inferq", broker=url, set_as_current=False, amqp=_PromptAMQP)
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
        # A command that Redis refuses, as all writes while its disk is full, is no reason to exit either.
        broker_channel_error_retry=True,
        # The default exchange routes by queue name alone. A named exchange keeps its bindings in Redis, and after a
        # FLUSHALL every notification would be dropped silently until all workers were restarted.
        # Without acknowledgement, since kombu keeps what is not acknowledged in Redis: a full one has no memory for it.
        task_queues=[CeleryQueue(name, Exchange(""), routing_key=name, no_ack=True) for name in queues],  # type: ignore[no-untyped-call]
        task_default_queue=queues[0],
        task_default_exchange="",
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        worker_prefetch_multiplier=1,
        # A prefetched notification would wait behind a running batch, while idle workers could not receive it.
        worker_disable_prefetch=True,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        enable_utc=True,
        timezone="UTC",
    )
    return app


class Notifications:
    """Sends Celery tasks, and records in Redis which versions have a pending notification."""

    def __init__(self, connection: Connection) -> None:
        self._redis, self._key, self._settings = connection.redis, connection.key, connection.settings
        self._apps: dict[Callable[[Settings], Celery], Celery] = {}
        self._apps_lock = threading.Lock()

    def send_task(self, task: str, *arguments: str) -> bool:
        """Send a Celery task to the broker of its queue.

        Returns False when it could not be sent; the next run of maintenance then sends it.
        """
        queue = _ROUTES[task]
        try:
            self._app(queue).send_task(task, arguments, queue=queue, retry=False)
        except (OperationalError, redis.RedisError, OSError) as error:
            log.warning("could not send %s%s: %s", task, arguments, error)
            return False
        return True

    def trim(self) -> None:
        """Drop the oldest messages to workers beyond MOST_MESSAGES: while no worker runs, they pile up.

        Celery's `expires` was rejected: the receiver judges it by the clock of its machine, and one whose clock is
        ahead would drop every message.
        """
        with translated_errors():  # the newest message is the first of the list
            self._redis.ltrim(f"{self._settings.broker_prefix}{MODEL_QUEUE}", 0, MOST_MESSAGES - 1)

    def notify(self, version_id: str) -> bool:
        """Notify one worker that pictures wait for the version, unless a notification is pending; returns False if that
        is not possible because Redis is full."""
        try:
            with translated_errors():
                first = self.mark_pending(self._redis, version_id)
        except errors.QueueFull:
            return False
        return self.send_if_first(version_id, bool(first))

    def clear(self, version_id: str) -> None:
        """Remove the pending notification, because a worker has received it: the next picture sends another."""
        with translated_errors():
            self._redis.delete(self._key("bell", version_id))

    def is_pending(self, version_id: str) -> bool:
        """Return True while a notification is on its way, or a consumer polls the version's streams."""
        with translated_errors():
            return bool(self._redis.exists(self._key("bell", version_id)))

    def suppress(self, client: Any, version_id: str, consumer: str, seconds: float) -> None:
        """Run, on this client or pipeline, the command that suppresses notifications for `seconds`, because this
        consumer polls the version's streams."""
        client.set(self._key("bell", version_id), consumer, px=max(1, int(seconds * 1000)))

    def allow(self, version_id: str, consumer: str) -> None:
        """Allow notifications again that this consumer suppresses, as it polls no longer; one that is pending stays."""
        with translated_errors():
            if self._redis.get(self._key("bell", version_id)) == consumer:
                self.clear(version_id)

    def ask_others(self, client: Any) -> None:
        """Run, on this client or pipeline, the command that counts the notifications that wait for a worker in the
        broker."""
        client.llen(f"{self._settings.broker_prefix}{MODEL_QUEUE}")

    def mark_pending(self, client: Any, version_id: str) -> Any:
        """Run, on this client or pipeline, the command that sets a notification as pending; its reply is true if none
        was."""
        return client.set(self._key("bell", version_id), "rung", nx=True, px=int(NOTIFICATION_SECONDS * 1000))

    def send_if_first(self, version_id: str, first: bool) -> bool:
        """Send the notification if none was pending before (`first`); if sending fails, it is no longer pending, and
        False is returned."""
        if not first or self.send_task(CONSUME, version_id):
            return True
        self.clear(version_id)
        return False

    def close(self) -> None:
        """Close the connections to the brokers."""
        for app in self._apps.values():
            app.close()

    def _app(self, queue: str) -> Celery:
        """Return the Celery app on the broker of this queue, created on first use."""
        make = training_app if queue == TRAINING_QUEUE else celery_app
        with self._apps_lock:
            if make not in self._apps:
                self._apps[make] = make(self._settings)
            return self._apps[make]
