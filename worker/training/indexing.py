"""The work on an index: the features of the pictures that it lacks, in turns, so that other errands get theirs."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from shared import errors
from shared.adapters.storage import Storage
from shared.container import Container
from shared.domain.searches import SearchIndex
from shared.services import search_index_runs
from shared.services.search_index_runs import IndexedPicture
from worker import feature_store
from worker.engine import Engine, Loaded

log = logging.getLogger(__name__)

TURN = 20.0
"""Seconds of work on one index, after which the pictures done are stored and searched, and other errands looked for."""


def index(container: Container, engine: Engine, waiting: SearchIndex, stopping: threading.Event) -> None:
    """Work on an index whose lock the trainer holds, for TURN at most, and store how far it is.

    Raises Unavailable, after which the work is left for later.
    """
    try:
        begun, version = search_index_runs.begin(container, waiting)
    except search_index_runs.IndexEnded:
        return
    try:
        unreadable = _complete(container, lambda: engine.load(version), begun, stopping)
    except (errors.Unavailable, OSError):
        search_index_runs.put_behind(container, begun)
        raise
    except errors.InferqError as error:  # the weights are damaged, or the network fails
        log.error("the index of %s by %s: %s", begun.collection, version.name, error.message)
        unreadable = len(search_index_runs.get_members(container, begun))
    if unreadable is None:
        search_index_runs.put_behind(container, begun)
    else:
        search_index_runs.finish(container, begun, unreadable=unreadable)


def _complete(
    container: Container, load: Callable[[], Loaded], begun: SearchIndex, stopping: threading.Event
) -> int | None:
    """Compute and store missing features; return how many pictures are unreadable, or None if some are left."""
    storage, prefix = container.storage, begun.collection.features_prefix(begun.checksum)
    until = time.monotonic() + TURN
    members = search_index_runs.get_members(container, begun)
    stored = feature_store.known(storage, prefix)
    missing = [member for key, member in members.items() if key not in stored]
    pictures = search_index_runs.list_pictures(container, begun, missing)
    fresh: dict[bytes, NDArray[np.float32]] = {}
    done = 0
    while done < len(pictures) and (not done or time.monotonic() < until) and not stopping.is_set():
        model = load()  # which no removal of pictures waits for
        batch = pictures[done : done + model.max_batch]
        fresh |= _features(storage, model, batch)
        done += len(batch)
    feature_store.write(storage, prefix, fresh)
    if done < len(pictures):
        return None
    # An older version of a dataset still needs pictures that the newest lacks; a removed image leaves nothing behind.
    feature_store.tidy(storage, prefix, None if begun.dataset_id else search_index_runs.get_members(container, begun))
    return len(pictures) - len(fresh)


def _features(storage: Storage, model: Loaded, batch: list[IndexedPicture]) -> dict[bytes, NDArray[np.float32]]:
    """Return the features of those pictures that can be read."""
    prepared = {}
    for picture in batch:
        try:
            prepared[picture.key] = model.prepare(storage.read(picture.blob, picture.offset, picture.size))
        except (FileNotFoundError, errors.BadRequest) as error:  # just removed, or broken behind its header
            log.info("a picture is left out of an index: %s", error)
    if not prepared:
        return {}
    rows = model.forward(list(prepared.values()), "features").numpy()
    return dict(zip(prepared, rows, strict=True))
