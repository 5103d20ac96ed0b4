"""The worker's part of an export: it converts a version to ONNX, in a process of its own."""

from __future__ import annotations

import logging

from shared import errors
from shared.domain import lock_names
from shared.services import model_exports
from worker import conversions
from worker.onnx_conversion import CONVERTED
from worker.process import WorkerProcess

log = logging.getLogger(__name__)


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
            converted = conversions.run(container, version, "worker.onnx_conversion", CONVERTED)
        except errors.Unavailable as error:  # no fault of the version: the next request has it converted
            log.warning("exporting %s version %s: %s", version.name, version.version, error.message)
        except FileNotFoundError:
            model_exports.fail(container, version, "its weights are not in the storage any more; import it again")
        except errors.InferqError as error:
            model_exports.fail(container, version, error.message)
        except Exception as error:
            log.exception("exporting %s version %s", version.name, version.version)
            if errors.is_disk_full(error):
                return  # no fault of the version either
            model_exports.fail(container, version, f"it was interrupted: {type(error).__name__}")
        else:
            model_exports.finish(container, version, converted)
            log.info("model %s version %s is converted to ONNX", version.name, version.version)
