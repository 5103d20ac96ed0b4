"""Similarity scoring on the SAP wire: vectors as JSON or in archives, and the cosines that must come back."""

from __future__ import annotations

import io
import json
import threading
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from sklearn.metrics.pairwise import cosine_similarity
from werkzeug.test import TestResponse

from api.dialects.sap_leonardo import similarity

V1 = "/ml/similarityscoring/inference_sync"
V2 = "/api/v2/similarity-scoring"
PATHS = (V1, "/ml/similarityscoring/similarity-scoring", "/mlfs/api/v2/similarity-scoring", V2)
VECTORS: dict[str, Sequence[float]] = {"a": [1.0, 0.0], "b": [3.0, 4.0], "c": [0.0, 2.0], "d": [-1.0, 0.0]}


def group(vectors: Mapping[str, Sequence[float]]) -> list[dict[str, Any]]:
    return [{"id": name, "vector": vector} for name, vector in vectors.items()]


def zipped(members: Mapping[str, Any]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content if isinstance(content, str) else json.dumps(content))
    return file.getvalue()


def post(client: FlaskClient, path: str = V2, *archives: bytes, **fields: Any) -> TestResponse:
    """Send archives as `files`, and fields, of which structures are JSON."""
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in fields.items()}
    files = {"files": [(io.BytesIO(data), "vectors.zip") for data in archives]} if archives else {}
    return client.post(path, data={**files, **texts}, content_type="multipart/form-data")


def wanted(most: int, **more: Any) -> dict[str, Any]:
    return {"numSimilarVectors": most} | more


def found(answer: TestResponse) -> dict[str, list[tuple[str, float]]]:
    assert answer.status_code == 200, answer.text
    return {
        row["id"]: [(near["id"], round(near["score"], 12)) for near in row["similarVectors"]]
        for row in answer.json["predictions"]
    }


@pytest.mark.parametrize("path", PATHS)
def test_a_group_is_compared_with_itself(client: FlaskClient, path: str) -> None:
    answer = post(client, path, texts={"0": group(VECTORS)}, options=wanted(2))
    assert found(answer) == {
        "a": [("b", 0.6), ("c", 0.0)],
        "b": [("c", 0.8), ("a", 0.6)],
        "c": [("b", 0.8), ("a", 0.0)],
        "d": [("c", 0.0), ("b", -0.6)],
    }


def test_of_two_groups_the_first_is_compared_with_the_second(client: FlaskClient) -> None:
    others = {name: VECTORS[name] for name in "bcd"}
    answer = post(client, texts={"0": group({"a": [2.0, 0.0]}), "1": group(others)}, options=wanted(2))
    assert found(answer) == {"a": [("b", 0.6), ("c", 0.0)]}
    archives = (zipped({"a": [2, 0]}), zipped(others))
    assert found(post(client, V2, *archives, options=wanted(2))) == {"a": [("b", 0.6), ("c", 0.0)]}


@pytest.mark.parametrize("algorithm", ["naive", "matrix_mult", "clustering"])
def test_an_archive_has_a_vector_in_each_member_whose_name_is_the_id(client: FlaskClient, algorithm: str) -> None:
    names = {f"{name}.jpg": vector for name, vector in VECTORS.items()}
    answer = post(client, V2, zipped(names), options=wanted(1, algorithm=algorithm))
    assert found(answer) == {
        "a.jpg": [("b.jpg", 0.6)], "b.jpg": [("c.jpg", 0.8)], "c.jpg": [("b.jpg", 0.8)], "d.jpg": [("c.jpg", 0.0)],
    }  # fmt: skip
    assert answer.json["request"]["files"] == ["vectors.zip"]


def test_the_scores_are_those_of_scikit_learn_in_full_precision(client: FlaskClient) -> None:
    rows = np.random.default_rng(1).random((40, 300))
    answer = post(client, texts={"0": group({str(n): row.tolist() for n, row in enumerate(rows)})}, options=wanted(39))
    expected = cosine_similarity(rows)
    for row in answer.json["predictions"]:
        scores = [near["score"] for near in row["similarVectors"]]
        others = [int(near["id"]) for near in row["similarVectors"]]
        assert scores == sorted(scores, reverse=True)
        assert sorted(others) == [n for n in range(40) if n != int(row["id"])]
        assert np.allclose(scores, expected[int(row["id"]), others], atol=1e-14)


def test_the_path_decides_the_style(client: FlaskClient) -> None:
    bodies = [dict(post(client, path, texts={"0": group(VECTORS)}, options=wanted(1)).json or {}) for path in (V1, V2)]
    v1, v2 = bodies
    assert set(v1) == {"_id", "predictions", "processed_time", "request", "status", "tenantName"}
    assert set(v2) == {"id", "predictions", "processedTime", "request", "status", "tenantName"}
    assert (v1["status"], v2["status"]) == ("DONE", "DONE")
    assert v2["request"] == {"files": [], "options": {"numSimilarVectors": 1}, "tenantName": "default", "texts": []}


def test_more_than_there_are_is_all_of_them(client: FlaskClient) -> None:
    assert [len(near) for near in found(post(client, texts={"0": group(VECTORS)}, options=wanted(99))).values()] == [
        3
    ] * 4
    assert found(post(client, texts={"0": group({"a": [1.0]})}, options=wanted(1))) == {"a": []}


def test_zeros_are_similar_to_nothing_and_size_does_not_count(client: FlaskClient) -> None:
    vectors = {"zero": [0.0, 0.0], "large": [1e300, 1e300], "small": [1e-300, 0.0]}
    scores = found(post(client, texts={"0": group(vectors)}, options=wanted(2)))
    assert scores["zero"] == [("large", 0.0), ("small", 0.0)]
    assert scores["large"][0] == ("small", round(2**-0.5, 12))


BAD: list[tuple[dict[str, Any], str]] = [
    ({"texts": {"0": group(VECTORS)}}, "options must say how many"),
    ({"texts": {"0": group(VECTORS)}, "options": {"numSimilarVectors": 0}}, "at least 1, not 0"),
    ({"texts": {"0": group(VECTORS)}, "options": {"numSimilarVectors": "x"}}, "must be a whole number, not"),
    ({"texts": {"0": group(VECTORS)}, "options": wanted(1, algorithm="magic")}, "algorithm must be one of naive"),
    ({"texts": {"0": group(VECTORS)}, "options": "no json"}, "options must be a JSON object"),
    ({"options": wanted(1)}, "There are no vectors"),
    ({"texts": "{", "options": wanted(1)}, "not valid JSON"),
    ({"texts": [1], "options": wanted(1)}, "groups of objects"),
    ({"texts": {"0": [{"id": "a"}]}, "options": wanted(1)}, "missing required field `vector`"),
    ({"texts": {"0": [{"id": "a", "vector": ["x"]}]}, "options": wanted(1)}, "Expected `float`, got `str`"),
    ({"texts": {"0": [{"id": "a", "vector": []}]}, "options": wanted(1)}, "The vector 'a' is empty"),
    ({"texts": {"0": group({"a": [1, 2], "b": [1]})}, "options": wanted(1)}, "'b' has 1 numbers, and 'a' has 2"),
    ({"texts": {"0": group({"a": [1]}), "1": group({"b": [1, 2]})}, "options": wanted(1)}, "'b' has 2 numbers"),
    ({"texts": {"0": group(VECTORS), "1": []}, "options": wanted(1)}, "A group holds no vector"),
    ({"texts": {}, "options": wanted(1)}, "A group holds no vector"),
    ({"texts": {str(n): group(VECTORS) for n in range(3)}, "options": wanted(1)}, "There are 3 groups"),
    ({"texts": '{"0": [{"id": "a", "vector": [NaN]}]}', "options": wanted(1)}, "not valid JSON"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "reason"), BAD)
@pytest.mark.parametrize("path", [V1, V2])
def test_what_is_wrong_is_said_in_the_style_of_the_path(
    client: FlaskClient, path: str, fields: dict[str, Any], reason: str
) -> None:
    answer = post(client, path, **fields)
    assert answer.status_code == 400, answer.text
    said = answer.json["error_description"] if path == V1 else answer.json["error"]["message"]
    assert reason in said


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"a.txt": "hello"}, "'a.txt' is not a list of numbers in JSON"),
        ({"a.txt": {"b": 1}}, "'a.txt' is not a list of numbers in JSON"),
        ({"folder/a": [1]}, "hierarchy in archive file is not allowed"),
        ({}, "The archive is empty"),
    ],
)
def test_an_archive_names_the_member_at_fault(client: FlaskClient, members: dict[str, Any], reason: str) -> None:
    answer = post(client, V2, zipped(members), options=wanted(1))
    assert answer.status_code == 400
    assert reason in answer.json["error"]["message"]


def test_vectors_come_in_one_of_the_two_ways_and_in_an_archive(client: FlaskClient) -> None:
    both = post(client, V2, zipped(VECTORS), texts={"0": group(VECTORS)}, options=wanted(1))
    assert "Send one of them" in both.json["error"]["message"]
    plain = post(client, V2, b"[1, 2, 3]", options=wanted(1))
    assert plain.json == {"error": {"code": "400", "message": "Error when uploading files:: Invalid file type"}}


def test_what_takes_too_long_is_refused(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similarity, "MOST_SCORES", 7)
    assert post(client, texts={"0": group(VECTORS)}, options=wanted(2)).status_code == 413
    assert post(client, texts={"0": group(VECTORS)}, options=wanted(1)).status_code == 200
    monkeypatch.setattr(similarity, "MOST_PRODUCTS", 4 * 4 * (2 + similarity.PER_SCORE) - 1)
    assert post(client, texts={"0": group(VECTORS)}, options=wanted(1)).status_code == 413
    monkeypatch.setattr(similarity, "MOST_BYTES", 5)
    packed = post(client, V2, zipped(VECTORS), options=wanted(1))
    assert "unpacks to more than 5 bytes" in packed.json["error"]["message"]


def test_many_short_vectors_are_refused_by_their_scores(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similarity, "_predictions", lambda *_: pytest.fail("they were compared"))
    many = [{"id": number, "vector": [1]} for number in range(5000)]  # 25 million products of 25 million scores
    assert post(client, texts={"0": many}, options=wanted(1)).status_code == 413


def test_three_archives_are_refused_before_they_are_unpacked(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(similarity, "_unpacked", lambda _: pytest.fail("it was unpacked"))
    answer = post(client, V2, *[zipped(VECTORS)] * 3, options=wanted(1))
    assert (answer.status_code, "There are 3 groups" in answer.text) == (400, True)


@pytest.mark.parametrize("path", [V1, V2])
def test_vectors_beyond_those_that_may_wait_are_refused_at_once(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(similarity, "_PLACES", threading.BoundedSemaphore(1))

    def while_it_runs(groups: Any, most: int) -> list[dict[str, Any]]:
        answer = post(client, path, texts={"0": group(VECTORS)}, options=wanted(1))
        assert (answer.status_code, "Too many vectors wait" in answer.text) == (503, True)
        return []

    monkeypatch.setattr(similarity, "_predictions", while_it_runs)
    assert post(client, path, texts={"0": group(VECTORS)}, options=wanted(1)).status_code == 200
    assert post(client, path, texts={"0": group({"a": []})}, options=wanted(1)).status_code == 400
    assert post(client, path, texts={"0": group(VECTORS)}, options=wanted(1)).status_code == 200  # its place is free
