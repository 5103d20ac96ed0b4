"""Searches: what a search for similar pictures may carry, and the neighbours that it answers with."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from shared.domain.searches import LARGEST
from shared.schemas.common import Answer, Photo, Request

# requests


class SearchOptions(Request, kw_only=True):
    """The options of a search, in form fields, in the query or in JSON."""

    model: Annotated[str, Meta(description="The model whose features are compared; by default the default model.")] = ""
    version: Annotated[str, Meta(description="Its version; by default the model's default version.")] = ""
    limit: Annotated[int, Meta(description=f"Most pictures that are found, 1 to {LARGEST}.", ge=1, le=LARGEST)] = 10
    dataset: Annotated[
        str | int, Meta(description="Id or name of a dataset: its examples are searched, and no other pictures.")
    ] = ""
    images: Annotated[
        bool,
        Meta(
            description="Search the stored images, beside the `dataset` if one is named. Without both options, all "
            "stored images and all datasets are searched."
        ),
    ] = False
    exif: Annotated[bool, Meta(description="Rotate the picture according to its EXIF orientation.")] = True


class SearchForm(SearchOptions, kw_only=True):
    """A search as a form."""

    files: Annotated[list[Photo], Meta(description="One picture. Bytes decide what a file is.")]


class RawSearch(SearchOptions, kw_only=True):
    """The options of a search whose body is the picture."""

    name: Annotated[str, Meta(description="The name of the file in the answer.")] = "file"


# answers


class SimilarLinks(Answer, kw_only=True):
    """The addresses that belong to a picture that was found."""

    self: str
    picture: str


class SimilarPicture(Answer, kw_only=True, omit_defaults=True):
    """One picture that was found: a stored image, or an example of a dataset."""

    similarity: Annotated[float, Meta(description="Cosine of the angle between the features, -1 to 1.")]
    name: Annotated[str, Meta(description="The name of the file.")]
    image_id: Annotated[str, Meta(description="Of a stored image.")] = ""
    dataset_id: Annotated[int, Meta(description="Of an example: its dataset.")] = 0
    example_id: Annotated[int, Meta(description="Of an example: its id in the dataset.")] = 0
    label: Annotated[str, Meta(description="Of an example: its label.")] = ""
    links: SimilarLinks


class Similar(Answer, kw_only=True):
    """The pictures that a search has found."""

    hits: Annotated[list[SimilarPicture], Meta(description="The most similar first.")]
    searched: Annotated[
        int,
        Meta(
            description="Pictures that were compared. Of the others the features are not known yet; they are computed "
            "in the background, so a later search compares more."
        ),
    ]
    of: Annotated[int, Meta(description="Pictures among which was to be searched.")]
