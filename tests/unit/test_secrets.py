"""No tracked file holds a secret: no private key, no key of a known service, and no token that looks random."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
SHAPES = {
    "private key": re.compile(r"-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----\s+[A-Za-z0-9+/]{32}"),
    "AWS key": re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    "GitHub key": re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{60,})"),
    "Hugging Face key": re.compile(r"\bhf_[A-Za-z0-9]{30,}\b"),
    "key in a URL": re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s/:@\"'<>{}$]+:(?P<token>[^\s/:@\"'<>{}$]{12,})@"),
}
TOKEN = re.compile(r"(?<![A-Za-z0-9+/_=.-])[A-Za-z0-9+/_-]{32,}={0,2}")
ENTROPY = 4.3
"""Bits for each character, from which a token counts as random; words, paths and hexadecimal checksums have less."""
ALLOWED = {
    "tests/unit/test_secrets.py": "the examples below",
    "tests/upgrade/0.1/answers.json": "keys of a stack that a test wrote, and that runs nowhere",
    "tests/upgrade/0.1/blobs.json": "pictures in base64",
    "tests/upgrade/0.1/valkey.json": "entries of Redis in base64",
}
"""File -> why its tokens are no secrets."""
_BINARY = {".png", ".jpg", ".svg", ".ico", ".safetensors", ".onnx", ".gz", ".zip", ".db"}


def secrets(text: str) -> Iterator[tuple[str, str]]:
    """Yield (kind, token) of everything in the text that looks like a secret."""
    for kind, shape in SHAPES.items():
        for found in shape.finditer(text):
            yield kind, found.group(0)
    for found in TOKEN.finditer(text):
        token = found.group(0)
        mixed = all(re.search(letters, token) for letters in ("[a-z]", "[A-Z]", "[0-9]"))
        if mixed and token.count("/") < 4 and entropy(token) > ENTROPY:
            yield "random token", token


def entropy(token: str) -> float:
    """Return Shannon's entropy in bits for each character."""
    return -sum(count / len(token) * math.log2(count / len(token)) for count in Counter(token).values())


def tracked() -> list[Path]:
    git = shutil.which("git")
    if not git or not (ROOT / ".git").exists():
        pytest.skip("this is no checkout")
    listed = subprocess.run([git, "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def test_no_tracked_file_holds_a_secret() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {kind} {token[:12]}…"
        for path in tracked()
        if path.suffix not in _BINARY and str(path.relative_to(ROOT)) not in ALLOWED
        for kind, token in secrets(path.read_text(errors="replace"))
    ]
    assert not found, "\n".join(found)


def test_what_is_allowed_is_still_there() -> None:
    names = {str(path.relative_to(ROOT)) for path in tracked()}
    assert set(ALLOWED) <= names


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("private key", "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEAx0Zq5m7v0b3n9s8d7f6g5h4j3k2l1"),
        ("AWS key", "aws_access_key_id = AKIAIOSFODNN7EXAMPLE"),
        ("GitHub key", "token: ghp_16C7e42F292c6912E7710c838347Ae178B4a"),
        ("Hugging Face key", "HF_TOKEN=hf_AbCdEfGhIjKlMnOpQrStUvWxYz01234567"),
        ("key in a URL", "postgresql://user:correct-horse-battery@db:5432/x"),
        ("random token", 'KEY = "q7Zr2LwX9vKp4NsT8bYc3HdJ6mGf1QaE5uRo"'),
    ],
)
def test_a_secret_is_found_by_its_shape(kind: str, text: str) -> None:
    assert kind in [found for found, _ in secrets(text)]


@pytest.mark.parametrize(
    "text",
    [
        "from shared.adapters.database.model_versions import ModelVersions",
        "def test_a_picture_that_turns_out_to_be_damaged_is_refused_with_the_reason",
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "postgresql://postgres@127.0.0.1:5432/postgres",
        "-----BEGIN PRIVATE KEY-----",
    ],
)
def test_names_paths_and_checksums_are_no_secrets(text: str) -> None:
    assert not list(secrets(text))
