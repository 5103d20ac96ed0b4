"""The client and the commands of suspect labels, against a small real server."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from rich.console import Console

from inferq.commands import console
from shared.schemas.datasets import Example, SuspectList
from tests.unit.answers import complete
from tests.unit.toy_server import ToyServer

BIRDS = "/v1/datasets/birds"


def suspect(number: int, name: str, label: str, suggested: str, score: float) -> dict[str, Any]:
    return {"example": {"id": number, "name": name}, "label": label, "suggested": suggested, "score": score}


LONG = "a name that is as long as those of cameras and of agencies may be, with its date.jpg"
FOUND = complete(
    SuspectList,
    training="t1",
    suspects=[
        suspect(7, "../photos/duck [2].jpg", "teal", "duck", 0.031),
        suspect(9, "..", "", "goose", 0.2),
        suspect(12, LONG, "swan", "", 0.3),
    ],
    kept=1,
)
AFTER = complete(Example, id=31, name="duck.jpg", label={"id": 1, "name": "duck"})


def sent(server: ToyServer) -> list[tuple[str, str, Any]]:
    return [
        (request.method, request.path, json.loads(request.body) if request.body else None)
        for request in server.requests
        if request.method != "GET"
    ]


def test_suspects_are_listed_the_most_doubtful_first_with_the_next_command(
    server: ToyServer, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.on(f"GET {BIRDS}/suspects", (200, {}, FOUND))
    lines = [line.split() for line in run("datasets", "suspects", "birds").stdout.splitlines() if line.strip()]
    assert lines[0] == ["picture", "label", "rather", "score", "id"]
    assert lines[2:4] == [["../photos/duck", "[2].jpg", "teal", "duck", "0.03", "7"], ["..", "–", "goose", "0.20", "9"]]
    assert lines[4][-4:] == ["swan", "–", "0.30", "12"]
    assert run("datasets", "suspects", "birds").stderr == (
        "next inferq datasets relabel birds ID LABEL, or inferq datasets keep birds ID\n"
    )
    monkeypatch.setattr(console, "out", Console(width=80, highlight=False, markup=False))
    assert max(map(len, run("datasets", "suspects", "birds").stdout.splitlines())) <= 80


def test_of_many_suspects_so_many_are_listed_and_json_has_all(server: ToyServer, run: Callable[..., Result]) -> None:
    server.on(f"GET {BIRDS}/suspects", (200, {}, FOUND))
    result = run("datasets", "suspects", "birds", "--limit", "1")
    assert "goose" not in result.stdout
    assert "and 2 more: --limit 3 lists them\n" in result.stderr
    assert len(json.loads(run("datasets", "suspects", "birds", "--limit", "1", "--json").stdout)["suspects"]) == 3


@pytest.mark.parametrize(
    ("training", "said"),
    [(None, "no training on birds has ended yet\n"), ("t1", "the newest training left no label of birds in doubt\n")],
)
def test_an_empty_list_of_suspects_says_why(
    server: ToyServer, run: Callable[..., Result], training: str | None, said: str
) -> None:
    server.on(f"GET {BIRDS}/suspects", (200, {}, FOUND | {"training": training, "suspects": []}))
    assert run("datasets", "suspects", "birds").stderr == said


def test_pictures_of_suspects_are_saved_under_their_ids(
    server: ToyServer, run: Callable[..., Result], tmp_path: Path
) -> None:
    server.on(f"GET {BIRDS}/suspects", (200, {}, FOUND))
    for each in (7, 9):
        server.on(f"GET {BIRDS}/examples/{each}/picture", (200, {}, str(each).encode()))
    result = run("datasets", "suspects", "birds", "--limit", "2", "--save", tmp_path / "doubted")
    assert f"wrote 2 pictures into {tmp_path / 'doubted'}" in result.stderr
    saved = {path.name: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert saved == {"7-duck__2_.jpg": b"7", "9": b"9"}


def test_a_picture_gets_the_label_or_all_labels_that_are_named(server: ToyServer, run: Callable[..., Result]) -> None:
    server.on(f"POST {BIRDS}/examples/7/labels", (201, {}, AFTER))
    assert run("datasets", "relabel", "birds", "7", "duck").stderr == "duck.jpg is now example 31 of duck\n"
    assert json.loads(run("datasets", "relabel", "birds", "7", "duck", "pond", "--json").stdout)["id"] == 31
    assert "example 31 of no label" in run("datasets", "relabel", "birds", "7", "--none").stderr
    path = f"{BIRDS}/examples/7/labels"
    assert sent(server) == [
        ("POST", path, {"label": "duck"}),
        ("POST", path, {"labels": ["duck", "pond"]}),
        ("POST", path, {"labels": []}),
    ]


@pytest.mark.parametrize("words", [("7",), ("7", "duck", "--none"), ("seven", "duck"), ("0", "duck")])
def test_relabel_refuses_wrong_ids_and_unclear_labels_before_anything_is_sent(
    server: ToyServer, run: Callable[..., Result], words: tuple[str, ...]
) -> None:
    assert run("datasets", "relabel", "birds", *words).exit_code == 2
    assert not server.requests


def test_labels_are_kept_and_pictures_removed(server: ToyServer, run: Callable[..., Result]) -> None:
    for path in ("suspects/7", "suspects/9", "examples/12"):
        server.on(f"DELETE {BIRDS}/{path}", (204, {}, b""))
    assert run("datasets", "keep", "birds", "7", "9").stderr == "kept the labels of 2 pictures\n"
    assert run("datasets", "remove", "birds", "12").stderr == "removed 1 picture of birds\n"
    assert sent(server) == [
        ("DELETE", f"{BIRDS}/suspects/7", None),
        ("DELETE", f"{BIRDS}/suspects/9", None),
        ("DELETE", f"{BIRDS}/examples/12", None),
    ]
