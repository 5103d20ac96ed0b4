"""What a tenant uses of the service."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TenantUsage:
    """The counts of one tenant."""

    tenant: str
    keys: int = 0
    """Keys that are not revoked."""
    jobs: int = 0
    """Jobs that are kept, ended or not."""
    trainings: int = 0
    training_seconds: float = 0.0
    """From the start of each training that is kept to its end, or until now."""
    answered: int = 0
    """Pictures that got an outcome in the last day."""
    failed: int = 0
    """Those of them that got an error."""
    waiting: int = 0
    """Unfinished pictures on the queue."""
    fullest: int = 0
    """The most of them that are for one model version, which is what `max_queued` limits."""
