"""The worker's part of an export: it converts a version to ONNX, in a process of its own."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from shared import errors
from shared.container import Container
from shared.domain import lock_names
from shared.domain.models import ModelVersion
from shared.domain.preprocessing import to_values
from shared.services import model_exports
from worker.onnx_conversion import CONVERTED, EXAMPLE, FAILURE, JOB, WEIGHTS
from worker.process import WorkerProcess

log = logging.getLogger(__name__)

_ONE_BY_ONE = threading.Lock()
"""A conversion takes more memory than serving the network does, so a worker runs one at a time."""
_SECONDS = 1800.0
"""Seconds that a conversion may take; the largest networks take some minutes."""


def export(worker: WorkerProcess, version_id: str) -> None:
    """Convert one version, unless that is being done; the result is stored as a file or as the reason."""
    container = worker.container
    with container.queue.locks.renewed(lock_names.model_export(version_id)) as held:
        if not held:
            return
        version = model_exports.begin(container, version_id)
        if version is None:
            return
        try:
            converted = _convert(container, version)
        except (errors.InferqError, FileNotFoundError) as error:
            model_exports.fail(container, version, str(error))
        except Exception as error:
            log.exception("exporting %s version %s", version.name, version.version)
            model_exports.fail(container, version, f"it was interrupted: {type(error).__name__}")
        else:
            model_exports.finish(container, version, converted)
            log.info("model %s version %s is converted to ONNX", version.name, version.version)


def _convert(container: Container, version: ModelVersion) -> bytes:
    """Return the ONNX file; raises Conflict with the reason, Unavailable.

    Not in this process: while torch traces a network no other may run here, and serving would stop for minutes.
    """
    if version.preprocessing is None or version.example is None:
        raise errors.Conflict("it has no example that the result could be compared with; import it again")
    job = {
        "family": version.family,
        "architecture": version.architecture,
        "config": dict(version.config),
        "preprocessing": to_values(version.preprocessing),
        "logits": list(version.example.logits),
        "threads": container.settings.torch_threads,
    }
    with tempfile.TemporaryDirectory(prefix="inferq-export-") as name:
        folder = Path(name)
        (folder / JOB).write_text(json.dumps(job))
        (folder / EXAMPLE).write_bytes(container.storage.read(version.example.blob))
        container.storage.fetch_to(version.weights, str(folder / WEIGHTS))
        command = [sys.executable, "-m", "worker.onnx_conversion", name]
        root = Path(__file__).parent.parent
        with _ONE_BY_ONE:
            done = subprocess.run(command, cwd=root, capture_output=True, timeout=_SECONDS, check=False)
        if done.returncode:
            log.warning("converting %s: %s", version.name, done.stderr.decode(errors="replace")[-2000:])
            failure = folder / FAILURE
            reason = failure.read_text() if failure.exists() else f"the conversion ended with {done.returncode}"
            raise errors.Conflict(reason)
        return (folder / CONVERTED).read_bytes()
