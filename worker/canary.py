"""What the default version would have said: pictures that a canary answered are shown to it as well, and counted."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from shared.jobs import Outcome
from shared.models import EVERYBODY, State, Version
from shared.queue import Entry

if TYPE_CHECKING:
    from worker.runner import Runner

log = logging.getLogger(__name__)

FRESH = 2.0
"""Seconds for which it is remembered whether a version is a canary, and of which default."""


class Watch:
    """Compares the answers of one version with those of its model's default, for as long as it is a canary.

    After the callers have their answers, and only while no others wait; nothing that goes wrong here reaches them.
    """

    def __init__(self, runner: Runner, version: Version) -> None:
        self._runner = runner
        self._version = version
        self._default: Version | None = None
        self._looked = -FRESH

    def compare(self, entries: Sequence[Entry], outcomes: Sequence[Outcome]) -> None:
        """Run the pictures through the default version, and count how often it says the same."""
        try:
            default = self._of() if self._version.tenant != EVERYBODY else None
            if default and not self._runner.tools.queue.backlog(self._version.id):
                self._count(default, entries, outcomes)
        except Exception:
            log.exception("comparing %s %s with the default", self._version.name, self._version.version)

    def _of(self) -> Version | None:
        """The default version, while this one is its canary."""
        if time.monotonic() - self._looked > FRESH:
            with self._runner.tools.records.read() as r:
                is_canary = r.promotions.is_canary(self._version.id)
                known = r.versions.named(self._version.tenant, self._version.name) if is_canary else []
            ready = (one for one in known if one.is_default and one.state is State.READY)
            self._default = next(ready, None)
            self._looked = time.monotonic()
        return self._default

    def _count(self, default: Version, entries: Sequence[Entry], outcomes: Sequence[Outcome]) -> None:
        tools = self._runner.tools
        answers = {(one.job_id, one.position): one.result for one in outcomes if one.result}
        shown = [one for one in entries if one.task == "classify" and (one.job_id, one.position) in answers]
        if not shown:
            return
        model = self._runner.engine.load(default)
        inputs = [
            model.prepare(tools.storage.read(one.blob, one.offset, one.size), exif=one.exif) for one in shown
        ]
        best = model.forward(inputs).argmax(dim=1).tolist()
        said = [answers[one.job_id, one.position][0][0] for one in shown]
        same = [default.labels[index] == label for index, label in zip(best, said, strict=True)]
        with tools.records.write() as r:
            r.promotions.count(self._version.id, len(same), sum(same))
