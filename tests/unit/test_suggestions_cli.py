"""The client and the commands of suggestions, against a small real server."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from inferq.cli import main
from inferq.client import Client
from inferq.errors import InferqHTTPError
from shared.schemas.datasets import Example
from shared.schemas.suggestions import SeenPictures, SuggestionList
from tests.unit.answers import complete
from tests.unit.toy_server import ToyServer

SEEN, SUGGESTIONS = "/v1/models/birds/seen-pictures", "/v1/models/birds/suggestions"
OFF = complete(SeenPictures, model="birds", keeping=False)
ON = complete(SeenPictures, model="birds", keeping=True, most=1000, days=30, pictures=1, bytes=2_500_000)
FIRST = {
    "id": "s1", "name": "../photos/duck.jpg", "label": "goose", "score": 0.512, "why": ["unlike_training", "uncertain"],
}  # fmt: skip
FOUND = complete(
    SuggestionList,
    model="birds",
    version="2",
    suggestions=[FIRST, {"id": "s2", "name": "..", "label": "teal", "score": 0.6, "why": ["uncertain"]}],
    candidates=7,
    seen=[{"version": "1", "pictures": 4}, {"version": "2", "pictures": 9}],
    dataset={"id": 7, "name": "pond"},
)
NONE = FOUND | {"suggestions": [], "candidates": 0}
EXAMPLE = complete(Example, id=5, name="duck.jpg", label={"id": 1, "name": "duck"})


@pytest.fixture
def run(server: ToyServer, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.setenv("INFERQ_URL", server.url)
    return lambda *words: CliRunner().invoke(main, ["models", *words])


def sent(server: ToyServer) -> list[tuple[str, str, Any]]:
    return [
        (request.method, request.path, json.loads(request.body) if request.body else None)
        for request in server.requests
        if request.method != "GET"
    ]


def test_pictures_are_kept_from_now_on_and_the_command_says_how_many(
    server: ToyServer, run: Callable[..., Result]
) -> None:
    server.on(f"PUT {SEEN}", (200, {}, ON))
    server.on(f"GET {SEEN}", (200, {}, ON))
    result = run("keep-seen", "birds", "--most", "1000")
    assert result.stdout == (
        "birds keeps pictures that are worth labelling: 1000 at most, for 30 days; now 1 picture, 2.5 MB\n"
    )
    assert json.loads(run("keep-seen", "birds", "--show", "--json").stdout)["pictures"] == 1
    assert sent(server) == [("PUT", SEEN, {"most": 1000})]


def test_none_are_kept_any_more_after_off(server: ToyServer, run: Callable[..., Result]) -> None:
    server.on(f"DELETE {SEEN}", (204, {}, b""))
    server.on(f"GET {SEEN}", (200, {}, OFF))
    assert run("keep-seen", "birds", "--off").stdout == "pictures that birds sees are not kept\n"
    assert sent(server) == [("DELETE", SEEN, None)]


@pytest.mark.parametrize("options", [("--off", "--show"), ("--off", "--most", "5"), ("--show", "--days", "5")])
def test_options_that_contradict_each_other_are_refused(run: Callable[..., Result], options: tuple[str, ...]) -> None:
    result = run("keep-seen", "birds", *options)
    assert result.exit_code == 2
    assert "--off and --show take no other option" in result.stderr


def test_suggestions_are_listed_with_the_next_command(server: ToyServer, run: Callable[..., Result]) -> None:
    server.on(f"POST {SUGGESTIONS}", (200, {}, FOUND))
    result = run("suggest", "birds", "--limit", "2")
    words = result.stdout.split()
    assert words[words.index("s1") : words.index("s1") + 3] == ["s1", "goose", "0.51"]
    assert "unlike the training, uncertain" in result.stdout
    assert result.stderr == "next inferq models label birds ID LABEL\n"
    assert sent(server) == [("POST", SUGGESTIONS, {"limit": 2, "version": ""})]
    assert max(map(len, result.stdout.splitlines())) < 80


def test_no_suggestion_is_said_with_the_versions_that_have_seen_pictures(
    server: ToyServer, run: Callable[..., Result]
) -> None:
    server.on(f"POST {SUGGESTIONS}", (200, {}, NONE))
    assert run("suggest", "birds", "--version", "2").stderr == (
        "no picture that birds 2 has seen is worth labelling so far\npictures seen by other versions: 1 (4)\n"
    )
    assert json.loads(run("suggest", "birds", "--json").stdout)["suggestions"] == []


def test_pictures_are_saved_into_the_folder_whatever_they_are_called(
    server: ToyServer, run: Callable[..., Result], tmp_path: Path
) -> None:
    server.on(f"POST {SUGGESTIONS}", (200, {}, FOUND))
    for each in ("s1", "s2"):
        server.on(f"GET {SUGGESTIONS}/{each}/picture", (200, {}, each.encode()))
    result = run("suggest", "birds", "--save", str(tmp_path / "new"))
    assert f"wrote 2 pictures into {tmp_path / 'new'}" in result.stderr
    saved = {path.name: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert saved == {"s1-duck.jpg": b"s1", "s2": b"s2"}


def test_a_suggestion_is_labelled_or_dismissed(server: ToyServer, run: Callable[..., Result]) -> None:
    server.on(f"POST {SUGGESTIONS}/s1", (201, {}, EXAMPLE))
    for each in ("s1", "s2"):
        server.on(f"DELETE {SUGGESTIONS}/{each}", (204, {}, b""))
    assert run("label", "birds", "s1", "duck", "--dataset", "pond").stderr == "duck.jpg is now example 5 of duck\n"
    assert json.loads(run("label", "birds", "s1", "duck", "--json").stdout)["id"] == 5
    assert run("dismiss", "birds", "s1", "s2").stderr == "dismissed 2 pictures\n"
    assert sent(server) == [
        ("POST", f"{SUGGESTIONS}/s1", {"label": "duck", "dataset": "pond"}),
        ("POST", f"{SUGGESTIONS}/s1", {"label": "duck"}),
        ("DELETE", f"{SUGGESTIONS}/s1", None),
        ("DELETE", f"{SUGGESTIONS}/s2", None),
    ]


def test_the_client_says_how_to_have_pictures_kept(server: ToyServer) -> None:
    detail = "The pictures are not kept. Have them kept: inferq models keep-seen birds"
    server.on(f"POST {SUGGESTIONS}", (409, {}, {"title": "Conflict", "code": "conflict", "detail": detail}))
    with Client(server.url) as client, pytest.raises(InferqHTTPError, match="keep-seen birds"):
        client.models.suggestions("birds")
