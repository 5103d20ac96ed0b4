"""The inference services and the paths of the three generations at which they answer.

    2017, v1   /inference_sync, /ml/imageclassifier/inference_sync, ...             `_id`, `processed_time`, `QUEUED`
    2018       /ml/imageclassification/classification, ...                          `id`, `processedTime`, `PENDING`
    2019, v2   /api/v2/image/classification, the same under /mlfs, .../models/{name}/versions/{version}

The path decides the style in which a job and a complaint are written, and below which door one stands: the sandbox's
gateway (`/ml`, `/mlfs`) has words of its own for keys and rates.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from flask import request

FORMATS = frozenset({"JPEG", "PNG", "GIF", "TIFF", "BMP"})
TOKEN_PATH = "/oauth/token"  # noqa: S105  # a path
RETRAINING = "/api/v2/image/retraining"
WIRE = "sap"
"""How jobs and trainings that came this way are marked."""


@dataclass(frozen=True)
class Service:
    """One inference service at one address."""

    path: str
    task: str = "classify"
    product: bool = False
    """Classifies by the model that the setting names."""
    retrained: bool = False
    """Also answers below `/models/{name}/versions/{version}`."""


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
ROUTED = tuple(service.path.rpartition("/")[0] for service in SERVICES if service.path.startswith("/ml/"))
"""What the sandbox's gateway knows; below these a service answers, beside these only the gateway."""


def addresses(service: Service) -> Iterator[str]:
    """Where the service answers; its jobs are below each."""
    yield service.path
    if service.retrained:
        yield f"{service.path}/models/<model>/versions/<version>"


def is_v1(path: str = "") -> bool:
    """Whether the path, the request's where none is given, is one of 2017."""
    path = path or request.path
    return "/inference_sync" in path or path == "/jobs" or path.startswith("/jobs/")
