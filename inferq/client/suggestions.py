"""Suggestions: keep pictures that a model sees, ask which are most worth labelling, and label them."""

from __future__ import annotations

from collections.abc import Sequence

from inferq.client import http
from inferq.client.blocking import blocking
from inferq.client.connection import Connection, read
from shared.schemas.datasets import Example
from shared.schemas.suggestions import SeenPictures, SuggestionList


class AsyncSuggesting:
    """The part of `client.models` that is about seen pictures and suggestions."""

    _connection: Connection

    async def keep_seen(self, name: str, *, most: int | None = None, days: int | None = None) -> SeenPictures:
        """Keep pictures that a model sees from now on, at most `most`, each for so many days after it was last seen."""
        fields = {"most": most, "days": days}
        wanted = {key: value for key, value in fields.items() if value is not None}
        return read(SeenPictures, await self._connection.request("PUT", _seen_path(name), json=wanted))

    async def get_seen(self, name: str) -> SeenPictures:
        """Return what is kept of the pictures that a model has seen."""
        return read(SeenPictures, await self._connection.get(_seen_path(name)))

    async def drop_seen(self, name: str) -> None:
        """Keep no more pictures that a model sees, and remove those that are kept."""
        await self._connection.request("DELETE", _seen_path(name))

    async def suggestions(self, name: str, *, limit: int = 20, version: str = "") -> SuggestionList:
        """Return the kept pictures that are most worth labelling, each different from those before it.

        `version` is the one that has seen them, by default the default version. Raises InferqHTTPError with status 409
        if none are kept by choice.
        """
        wanted = {"limit": limit, "version": version}
        return read(SuggestionList, await self._connection.request("POST", f"{_path(name)}/suggestions", json=wanted))

    async def suggested_picture(self, name: str, suggestion: str) -> bytes:
        """Return the bytes of a suggested picture as they were sent."""
        return (await self._connection.get(f"{_suggestion_path(name, suggestion)}/picture")).content

    async def label_suggestion(
        self, name: str, suggestion: str, label: str | Sequence[str], *, dataset: int | str | None = None
    ) -> Example:
        """Add a suggested picture with its label to a dataset, by default the one that the model was trained on.

        For a multi-label dataset `label` is a list of all labels that the picture shows, empty for none.
        """
        right = {"label": label} if isinstance(label, str) else {"labels": list(label)}
        wanted = right | ({} if dataset is None else {"dataset": dataset})
        return read(Example, await self._connection.request("POST", _suggestion_path(name, suggestion), json=wanted))

    async def dismiss_suggestion(self, name: str, suggestion: str) -> None:
        """Have a picture suggested no more, nor copies of it."""
        await self._connection.request("DELETE", _suggestion_path(name, suggestion))


class Suggesting:
    """The part of `client.models` that is about seen pictures and suggestions."""

    keep_seen = blocking(AsyncSuggesting.keep_seen)
    get_seen = blocking(AsyncSuggesting.get_seen)
    drop_seen = blocking(AsyncSuggesting.drop_seen)
    suggestions = blocking(AsyncSuggesting.suggestions)
    suggested_picture = blocking(AsyncSuggesting.suggested_picture)
    label_suggestion = blocking(AsyncSuggesting.label_suggestion)
    dismiss_suggestion = blocking(AsyncSuggesting.dismiss_suggestion)


def _path(name: str) -> str:
    return f"/v1/models/{http.word(name)}"


def _seen_path(name: str) -> str:
    return f"{_path(name)}/seen-pictures"


def _suggestion_path(name: str, suggestion: str) -> str:
    return f"{_path(name)}/suggestions/{http.word(suggestion)}"
