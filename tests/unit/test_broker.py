"""The connection of Celery to a broker that is away."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from celery import Celery
from kombu.exceptions import OperationalError

from shared.adapters.queue import notifications
from shared.adapters.queue.notifications import celery_app, training_app
from shared.settings import Settings


@pytest.mark.parametrize("make", [celery_app, training_app])
def test_a_broker_that_is_away_is_tried_again_without_growing_pauses(
    make: Callable[[Settings], Celery], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert notifications.RECONNECT_EVERY <= 1.0
    monkeypatch.setattr(notifications, "RECONNECT_EVERY", 0.05)
    app, pauses = make(Settings(redis_url="redis://127.0.0.1:9/0")), list[float]()
    with app.connection_for_read() as connection, pytest.raises(OperationalError):
        connection.ensure_connection(lambda _error, pause, *_: pauses.append(pause), 4)
    assert pauses == [0.05] * 4
    app.close()
