"""Searches: where the pictures lie among which similar ones are looked for, and what is found."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

LARGEST = 1000
"""Most neighbours that one search returns."""
KEY = 32
"""Bytes of the key of a picture in an index."""


@dataclass(frozen=True)
class SearchScope:
    """What a search looks through, and how many neighbours it returns; it is stored with its job."""

    limit: int
    stage: str = ""
    """The stage of the stored images; empty if they are not searched."""
    datasets: Sequence[int] | None = None
    """The ids of the datasets; None is all of the tenant."""

    def to_json(self) -> dict[str, Any]:
        """Return the scope as its job stores it."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> SearchScope:
        """Return the scope that a job has stored."""
        return cls(stored["limit"], stored["stage"], stored["datasets"])


@dataclass(frozen=True)
class Collection:
    """Pictures whose features are kept together: the stored images of a tenant and stage, or a dataset."""

    tenant: str
    stage: str = ""
    """The stage of the stored images; empty for a dataset."""
    dataset_id: int = 0
    """0 for stored images."""

    def features_prefix(self, checksum: str) -> str:
        """Return the beginning of the keys of all blobs with features by versions of that `features_checksum`.

        Those of a dataset lie beside its pictures, which they are removed with. The name of a tenant is hashed, as it
        may have characters that are none of a path.
        """
        return f"{self.features_folder}/features-{checksum[:32]}-"

    @property
    def features_folder(self) -> str:
        """The folder of these blobs."""
        if self.dataset_id:
            return f"datasets/{self.dataset_id}"
        return f"features/{hashlib.sha256(self.tenant.encode()).hexdigest()[:32]}-{self.stage}"


@dataclass(frozen=True)
class SearchIndex:
    """The features of one collection by one version, which a trainer keeps complete; times are Unix seconds."""

    tenant: str
    stage: str
    dataset_id: int
    version_id: str
    checksum: str
    """The version's `features_checksum`, by which the features are found after the version is removed."""
    wanted_at: float | None = None
    """When it was found to lack pictures, or to hold removed ones; None if it is as complete as it can be."""
    indexed_at: float | None = None
    """When a trainer last went through all pictures."""
    unreadable: int = 0
    """Pictures that could not be read then."""
    attempts: int = 0
    """How often a trainer has begun since it was wanted."""

    @property
    def collection(self) -> Collection:
        """The pictures."""
        return Collection(self.tenant, self.stage, self.dataset_id)


@dataclass(frozen=True)
class Hit:
    """One neighbour: a stored image, or an example of a dataset."""

    similarity: float
    """Cosine of the angle between the features, -1 to 1."""
    name: str
    image_id: str = ""
    dataset_id: int = 0
    example_id: int = 0
    label: str = ""
    """Of an example; in a multi-label dataset all its labels, with commas between them."""


@dataclass(frozen=True)
class SearchResult:
    """What a search has found."""

    hits: Sequence[Hit]
    searched: int
    """Pictures that were compared: those whose features are known."""
    of: int
    """Pictures in the scope."""

    def to_json(self) -> dict[str, Any]:
        """Return the result as its item stores it."""
        return {"hits": [asdict(hit) for hit in self.hits], "searched": self.searched, "of": self.of}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> SearchResult:
        """Return the result that an item has stored."""
        return cls([Hit(**hit) for hit in stored["hits"]], stored["searched"], stored["of"])


def image_key(image_id: str) -> bytes:
    """Return the key of a stored image in an index: its id, which is shorter than a SHA-256."""
    return image_id.encode().ljust(KEY, b"\0")
