"""The memory of a worker: what its process has, and what it has of its card."""

from __future__ import annotations

import resource
import sys
from contextlib import suppress
from pathlib import Path

import torch


def resident_bytes() -> int:
    """Return the bytes of memory that this process has; where the system does not say, the most that it ever had."""
    with suppress(OSError):  # Linux only
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def card_bytes(device: torch.device) -> dict[str, int]:
    """Return the bytes of a card that are `used`, by all processes, and its `total`; nothing for a CPU."""
    if device.type != "cuda":
        return {}
    free, total = torch.cuda.mem_get_info(device)
    return {"used": total - free, "total": total}
