"""Serializers of what a search has found; these functions read only their arguments."""

from __future__ import annotations

from api.context import link
from shared.domain.searches import Hit, SearchResult
from shared.schemas import searches as schemas


def similar(result: SearchResult) -> schemas.Similar:
    """Return the pictures that a search has found."""
    return schemas.Similar(hits=[_hit(hit) for hit in result.hits], searched=result.searched, of=result.of)


def _hit(hit: Hit) -> schemas.SimilarPicture:
    if hit.image_id:
        path, picture = f"/v1/images/{hit.image_id}", "download"
    else:
        path, picture = f"/v1/datasets/{hit.dataset_id}/examples/{hit.example_id}", "picture"
    return schemas.SimilarPicture(
        similarity=hit.similarity,
        name=hit.name,
        image_id=hit.image_id,
        dataset_id=hit.dataset_id,
        example_id=hit.example_id,
        label=hit.label,
        links=schemas.SimilarLinks(self=link(path), picture=link(f"{path}/{picture}")),
    )
