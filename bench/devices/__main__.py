"""`python -m bench.devices` runs a worker that knows the family of simulated devices as well."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from worker import __main__ as worker
from worker import families

if __name__ == "__main__":
    families.__path__.append(str(Path(__file__).parent / "families"))
    status = worker.main()
    logging.shutdown()
    sys.stdout.flush()
    os._exit(status)  # as the worker itself does, for the same reason
