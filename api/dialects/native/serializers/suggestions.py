"""Serializers of suggestions and seen pictures; these functions read only their arguments."""

from __future__ import annotations

from api.context import link
from shared.domain.seen_pictures import SeenPicture
from shared.schemas import suggestions as schemas
from shared.schemas.common import moment, moment_at
from shared.services.suggestions import Kept, Suggestions


def seen_pictures(kept: Kept) -> schemas.SeenPictures:
    """Return what is kept of the pictures that a model has seen."""
    choice = kept.choice
    return schemas.SeenPictures(
        model=kept.model,
        keeping=choice is not None,
        most=choice.most if choice else None,
        days=choice.days if choice else None,
        since=moment(choice.chosen_at if choice else None),
        pictures=sum(kept.pictures.values()),
        bytes=kept.bytes,
    )


def suggestions(found: Suggestions) -> schemas.SuggestionList:
    """Return the pictures that are worth labelling."""
    model, dataset = found.version.name, found.dataset
    return schemas.SuggestionList(
        model=model,
        version=found.version.version,
        suggestions=[suggestion(model, picture) for picture in found.pictures],
        candidates=found.candidates,
        seen=[schemas.SeenVersion(version=version, pictures=count) for version, count in sorted(found.kept.items())],
        dataset=schemas.LabelledDataset(id=dataset.id, name=dataset.name) if dataset else None,
    )


def suggestion(model: str, picture: SeenPicture) -> schemas.Suggestion:
    """Return one picture that is worth labelling."""
    path = link(f"/v1/models/{model}/suggestions/{picture.id}")
    return schemas.Suggestion(
        id=picture.id,
        name=picture.name,
        label=picture.label,
        score=picture.score,
        uncertainty=picture.uncertainty,
        why=list(picture.why),
        job=picture.job_id,
        seen_at=moment_at(picture.seen_at),
        links=schemas.SuggestionLinks(self=path, picture=f"{path}/picture"),
    )
