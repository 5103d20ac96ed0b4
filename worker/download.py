"""Published weights are downloaded whole and verified, or not at all."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from shared.errors import Unavailable


class NotFetched(Unavailable):
    """The weights could not be fetched."""


_STALL = 30.0
"""Seconds without a byte after which a running download is given up."""


def fetch(
    url: str,
    sha256_prefix: str,
    target: Path,
    timeout: float,
    on_progress: Callable[[int, int | None], None] = lambda done, total: None,
) -> None:
    """Download to `target`, which appears complete and verified or not at all; raises NotFetched with an alternative.

    A server that does not answer within `timeout` seconds counts as unreachable. `on_progress` is called with the bytes
    done and in all.
    """
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f"{target.name}.")
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            digest = hashlib.sha256()
            for chunk in _download(url, timeout, on_progress):
                file.write(chunk)
                digest.update(chunk)
        if not digest.hexdigest().startswith(sha256_prefix):
            raise ValueError(f"the file has the wrong checksum ({digest.hexdigest()[:16]}…)")
        part.replace(target)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        why = "no answer in time" if isinstance(error, httpx.TimeoutException) else str(error) or type(error).__name__
        raise NotFetched(
            f"The weights could not be fetched from {urlsplit(url).netloc}: {why.splitlines()[0]}. Without a network, "
            "import the model from a file: give `weights`, `architecture` and `labels`."
        ) from error
    finally:
        part.unlink(missing_ok=True)


def _download(url: str, timeout: float, on_progress: Callable[[int, int | None], None]) -> Iterator[bytes]:
    with httpx.Client(timeout=timeout, follow_redirects=True) as client, client.stream("GET", url) as response:
        response.raise_for_status()
        # An unreachable server must be detected soon; a running download may pause longer.
        response.request.extensions["timeout"]["read"] = max(timeout, _STALL)
        total = int(response.headers["content-length"]) if "content-length" in response.headers else None
        for chunk in response.iter_raw(1 << 20):
            yield chunk
            on_progress(response.num_bytes_downloaded, total)
