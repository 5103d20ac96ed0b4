"""The last uses of keys in one process, from the request that uses a key until a thread of the process writes them."""

from __future__ import annotations

from collections.abc import Mapping


class LastUses:
    """When each key was last used, as far as it is not written yet; any thread may call.

    There is no lock: each step on the dict is atomic, and a request that comes between two of them is taken by the next
    turn at the latest.
    """

    def __init__(self) -> None:
        self._times: dict[str, float] = {}

    def note(self, key_id: str, when: float) -> None:
        """Note that a key is used, at that time in Unix seconds."""
        self._times[key_id] = when

    def take(self) -> dict[str, float]:
        """Return the last uses (id -> Unix seconds) and forget them."""
        return {key_id: self._times.pop(key_id) for key_id in list(self._times)}

    def give_back(self, taken: Mapping[str, float]) -> None:
        """Keep uses that could not be written for the next time; a key that was used since has a later one."""
        for key_id, when in taken.items():
            self._times.setdefault(key_id, when)
