"""The genuine npm client `sap-leonardo` against the running service."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.stacks import SAMPLES, Stack

AWKWARD_NAME = 'a "three" 三.png'

pytestmark = pytest.mark.node


@pytest.fixture(scope="session")
def answers(npm: Path, stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The answer of each call of the script."""
    folder = tmp_path_factory.mktemp("npm")
    picture, text = folder / AWKWARD_NAME, folder / "notes.png"
    shutil.copy(SAMPLES / "digit_3.png", picture)
    text.write_text("no picture, whatever the name says")
    environment = os.environ | {"SVC_URL": stack.url, "SVC_KEY": "any-key"}
    command = ["node", "--no-deprecation", str(npm / "sap-leonardo.js"), str(picture), str(text)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert result.returncode == 0, result.stderr
    return dict(json.loads(result.stdout))


@pytest.mark.parametrize("call", ["classification", "fromBuffer", "baseWithSlash", "product"])
def test_the_client_gets_its_labels(answers: dict[str, Any], call: str) -> None:
    assert answers[call]["status"] == "DONE"
    (prediction,) = answers[call]["predictions"]
    assert prediction["results"][0]["label"] == "3"
    assert prediction["name"] == ("image.jpg" if call == "fromBuffer" else AWKWARD_NAME)


def test_the_client_gets_each_generation_in_its_style(answers: dict[str, Any]) -> None:
    assert {"_id", "processed_time"} <= set(answers["product"])
    assert {"id", "processedTime"} <= set(answers["classification"])


@pytest.mark.parametrize("call", ["features", "ofModel"])
def test_the_client_gets_a_flat_vector_of_features(answers: dict[str, Any], call: str) -> None:
    (prediction,) = answers[call]["predictions"]
    assert all(isinstance(number, (int, float)) for number in prediction["featureVectors"])
    assert any(prediction["featureVectors"])


def test_the_client_gets_the_similarity_of_vectors(answers: dict[str, Any]) -> None:
    assert answers["similar"]["status"] == "DONE"
    assert answers["similar"]["predictions"] == [
        {"id": "a", "similarVectors": [{"id": "b", "score": pytest.approx(0.6)}]},
        {"id": "b", "similarVectors": [{"id": "a", "score": pytest.approx(0.6)}]},
    ]
    assert "numSimilarVectors" in answers["similarOfNothing"]["error"]["message"]


def test_the_client_can_read_every_complaint(answers: dict[str, Any]) -> None:
    invalid = "Error when uploading files:"
    assert answers["notAPicture"] == {"error": {"code": "400", "message": f"{invalid}: Invalid file type"}}
    assert answers["productNotAPicture"] == {
        "error": invalid,
        "error_description": "Invalid file type",
        "status_code": 400,
    }
    assert answers["unknownModel"]["error"]["code"] == "404"
    assert answers["wrongUrl"]["error"]["message"].startswith("URL does not exist")
    assert answers["notServed"]["fault"]["detail"]["errorcode"] == "messaging.runtime.RouteFailed"
