"""Canaries: versions that answer a share of the requests without being the default."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Canary:
    """A version that answers a share of the requests that name no version."""

    version_id: str
    share: float
    """0 to 1."""
    compared: int
    """Pictures answered by the version that were also run through the default version."""
    agreed: int
    """Number of these for which the best label was the same."""
    since: float
    """Unix seconds."""
