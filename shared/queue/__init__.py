"""All that is kept in Redis, and the only place that knows it: lanes of pictures, bells, and marks that lapse.

    push ──XADD──> lane ──XREADGROUP──> claim ──> run ──> finish (SQL) ──XACK, XDEL──> gone
                    │                     └─ lease: idle time of the pending entry, renewed while it is held
                    └─ version:priority:tenant, one stream each

    lanes      the streams: push, claim, watch, lapse, acknowledge; what the sweep looks at
    entry      what stands on a stream: one picture
    bells      Celery, with which workers and trainers are called
    marks      what is small and lapses by itself: words of workers, locks, slots of the result cache, announcements
    base       the connection and the names of the keys
"""

from __future__ import annotations

from shared.queue.bells import BELL_SECONDS, BELLS, HOUSE, MESSAGE_SECONDS, TRAININGS, celery_app, training_app
from shared.queue.entry import Entry
from shared.queue.lanes import GROUP, PRIORITIES, Depth, Lanes
from shared.queue.marks import Marks


class Queue(Lanes, Marks):
    """All that is kept in Redis. Every method raises Unavailable when Redis is away."""


__all__ = [
    "BELLS", "BELL_SECONDS", "GROUP", "HOUSE", "MESSAGE_SECONDS", "PRIORITIES", "TRAININGS", "Depth", "Entry", "Queue",
    "celery_app", "training_app",
]  # fmt: skip
