"""From `checking` to `ready`: get the weights, prove that they fit, and that this worker reproduces the example."""

from __future__ import annotations

import logging
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from shared import errors, models
from shared.holding import hold
from shared.models import CHECK_SECONDS, PRETRAINED, Example, State, Version
from shared.storage import Storage
from shared.tools import Tools
from worker import families, weights

if TYPE_CHECKING:
    from worker.runner import Runner

log = logging.getLogger(__name__)


def check(runner: Runner, version_id: str) -> None:
    """Check one version, unless another check does, here or elsewhere; its state says how that ended."""
    tools = runner.tools
    with hold(tools, f"check:{version_id}") as mine:
        if not mine:
            return
        with tools.records.read() as r:
            version = r.versions.get(version_id)
        if version is None or version.state is not State.CHECKING:
            return
        began = time.monotonic()
        after = _checked(runner, version)
        _save(tools, after)
        if after.state is State.READY:
            with tools.records.write() as r:
                r.facts.set(CHECK_SECONDS, f"{time.monotonic() - began:.1f}")
        if after.state is State.READY and version.source != PRETRAINED:
            tools.storage.delete(version.source)  # only now: a worker that dies before must find it again


def _checked(runner: Runner, version: Version) -> Version:
    """The version as it is after the check: READY, REFUSED with the reason, or ABSENT when it could not be fetched."""
    tools = runner.tools
    if version.attempts >= tools.settings.max_attempts:
        return _failed(version, f"{version.attempts} workers died while checking it")
    version = replace(version, attempts=version.attempts + 1, reason="a worker is checking it")
    _save(tools, version)
    try:
        with tempfile.TemporaryDirectory(prefix="inferq-check-") as folder:
            ready = _examine(runner, version, Path(folder))
        runner.engine.load(ready)
    except errors.BadRequest as error:
        return replace(version, state=State.REFUSED, reason=error.message)
    except (errors.Unavailable, FileNotFoundError) as error:
        return _failed(version, str(error))
    except Exception as error:
        log.exception("checking %s version %s", version.name, version.version)
        return replace(version, state=State.REFUSED, reason=f"it cannot be loaded: {type(error).__name__}")
    log.info("model %s version %s is ready", ready.name, ready.version)
    return ready


def _failed(version: Version, reason: str) -> Version:
    """Published weights can be fetched another time; an upload is refused."""
    return replace(version, state=State.ABSENT if version.source == PRETRAINED else State.REFUSED, reason=reason)


def _examine(runner: Runner, version: Version, folder: Path) -> Version:
    """Weights to a checked safetensors blob, with labels, preprocessing and an example; raises BadRequest kinds."""
    proven = prove(runner.tools.storage, version, _weights_file(runner, version, folder), folder)
    return replace(proven, source=PRETRAINED if version.source == PRETRAINED else "")


def prove(storage: Storage, version: Version, path: Path, folder: Path) -> Version:
    """The version with the weights in `path`, READY as far as they alone can tell; raises BadRequest kinds.

    Its blobs are stored, its row is not. The engine, which loads it next, says whether they are reproduced.
    """
    found = weights.examine(
        version.architecture,
        path,
        version.labels or None,
        # What an earlier check found out is asked for anew: the request, or none, decides.
        version.preprocessing if version.training_id else version.wanted_preprocessing,
        folder,
        published=version.source == PRETRAINED,
    )
    blob = f"weights/{found.checksum}.safetensors"
    if version.training_id:  # two that come to the same bytes must not be able to remove each other's
        blob = models.trained_weights(version.training_id, found.checksum)
    storage.put_from(str(found.path), blob)
    example = models.example_key(version.id)
    storage.write(example, found.example_png)
    return replace(
        version,
        family=found.family,
        state=State.READY,
        reason="",
        labels=found.labels,
        preprocessing=found.preprocessing,
        preset=found.preset,
        weights=blob,
        checksum=found.checksum,
        example=Example(example, found.example_logits),
    )


def _weights_file(runner: Runner, version: Version, folder: Path) -> Path:
    tools = runner.tools
    target = folder / "weights"
    if version.source != PRETRAINED:
        tools.storage.fetch_to(version.source, str(target))
        return target
    pretrained = families.pretrained(version.architecture)
    if pretrained is None:
        raise errors.BadOption(f"There are no pretrained weights for {version.architecture!r}; import a weights file.")
    if pretrained.path is not None:
        return _installed(pretrained.path, pretrained.sha256_prefix, version.architecture)
    if not pretrained.url:
        raise errors.BadOption(
            f"The weights of {version.architecture!r} lie on a model hub, from which nothing is fetched here. Download "
            f"them yourself, then: inferq models import {version.name} --arch {version.architecture} --weights FILE"
        )
    url = pretrained.url
    if tools.settings.weights_url:
        url = f"{tools.settings.weights_url.rstrip('/')}/{os.path.basename(httpx.URL(url).path)}"
    told = -1

    def tell(done: int, total: int | None) -> None:
        nonlocal told
        percent = 100 * done // total if total else 0
        if percent // 5 != told // 5:
            told = percent
            with tools.records.write() as r:
                r.versions.set_reason(version.id, f"its weights are being fetched, {percent} % so far")

    weights.fetch(url, pretrained.sha256_prefix, target, tools.settings.weights_timeout, tell)
    return target


def _installed(path: Path, sha256: str, architecture: str) -> Path:
    """The file that an installed package brings; raises BadWeights unless it is the published one, byte for byte."""
    if not path.is_file():
        raise errors.BadWeights(f"The weights of {architecture!r} are missing: install inferq again.")
    if sha256 and weights.checksum(path) != sha256:
        raise errors.BadWeights(f"The weights of {architecture!r} are damaged (their SHA-256 differs): install inferq "
                                "again.")  # fmt: skip
    return path


def _save(tools: Tools, version: Version) -> None:
    with tools.records.write() as r:
        if r.versions.get(version.id) is not None:  # it may have been removed meanwhile
            r.versions.save(version)
    tools.queue.announce([version.id])
