"""The inference services and the paths of the three generations at which they answer.

    2017, v1   /inference_sync, /ml/imageclassifier/inference_sync, ...             `_id`, `processed_time`, `QUEUED`
    2018       /ml/imageclassification/classification, ...                          `id`, `processedTime`, `PENDING`
    2019, v2   /api/v2/image/classification, the same under /mlfs, .../models/{name}/versions/{version}

The path decides the style of jobs and errors, and whether the sandbox's gateway (`/ml`, `/mlfs`) answers: the gateway
has error texts of its own for keys and rate limits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from flask import request

FORMATS = frozenset({"JPEG", "PNG", "GIF", "TIFF", "BMP"})
TOKEN_PATH = "/oauth/token"  # noqa: S105  # a path
RETRAINING = "/api/v2/image/retraining"
WIRE = "sap"
"""The wire that jobs and trainings of this dialect record."""


@dataclass(frozen=True)
class Service:
    """Service describes one inference service at one address."""

    path: str
    task: str = "classify"
    product: bool = False
    """True if the model in the setting `sap_product_model` classifies."""
    retrained: bool = False
    """True if the service also answers below `/models/{name}/versions/{version}`."""


SERVICES = (
    Service("/inference_sync"),
    Service("/ml/imageclassifier/inference_sync"),
    Service("/ml/featureextraction/inference_sync", "features"),
    Service("/ml/prodimgclassifier/inference_sync", product=True),
    Service("/ml/imageclassification/classification"),
    Service("/ml/imagefeatureextraction/feature-extraction", "features"),
    Service("/mlfs/api/v2/image/classification", retrained=True),
    Service("/mlfs/api/v2/image/feature-extraction", "features", retrained=True),
    Service("/api/v2/image/classification", retrained=True),
    Service("/api/v2/image/feature-extraction", "features", retrained=True),
)
SIMILARITY = (
    "/ml/similarityscoring/inference_sync",
    "/ml/similarityscoring/similarity-scoring",
    "/mlfs/api/v2/similarity-scoring",
    "/api/v2/similarity-scoring",
)
"""The paths of similarity scoring, which compares vectors and takes no picture."""
ROUTED = tuple(
    path.rpartition("/")[0]
    for path in (*(service.path for service in SERVICES), *SIMILARITY)
    if path.startswith("/ml/")
)
"""The routes of the sandbox's gateway: a service answers below them; any other path gets the gateway's error."""


def addresses(service: Service) -> Iterator[str]:
    """Yield the URL rules of the service; its jobs are below each of them."""
    yield service.path
    if service.retrained:
        yield f"{service.path}/models/<model>/versions/<version>"


def is_v1(path: str = "") -> bool:
    """Return whether the path, by default that of the request, belongs to the generation of 2017 (v1)."""
    path = path or request.path
    return "/inference_sync" in path or path == "/jobs" or path.startswith("/jobs/")
