"""No file of the repository holds a secret: private keys, tokens of services, passwords in addresses."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
SECRETS = {
    "private key": rb"-----BEGIN ([A-Z]+ )*PRIVATE KEY-----\s*[A-Za-z0-9+/=]{40}",
    "key of AWS": rb"\b(AKIA|ASIA)[0-9A-Z]{16}\b",
    "token of GitHub": rb"\b(gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{60})",
    "token of GitLab": rb"\bglpat-[A-Za-z0-9_-]{20}",
    "token of Hugging Face": rb"\bhf_[A-Za-z]{34}\b",
    "token of Slack": rb"\bxox[abprs]-[0-9A-Za-z-]{20}",
    "key of Google": rb"\bAIza[0-9A-Za-z_-]{35}",
    "token of PyPI": rb"\bpypi-AgEI[0-9A-Za-z_-]{50}",
    "key of OpenAI or Anthropic": rb"\bsk-[A-Za-z0-9_-]{40}",
    "key of inferq": rb"\b(iq|live|test)_(?=[a-z0-9_]*[A-Z-])[A-Za-z0-9_-]{43}\b",
}
ADDRESS = re.compile(rb"[a-z+]{3,20}://[^\s/:@\"'{}$<>]{1,40}:([^\s/:@\"'{}$<>]{1,80})@")
EXAMPLES = {b"password", b"secret", b"tests"}
"""Passwords in addresses of examples and tests."""


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("this is no checkout of the repository")
    names = [name.decode() for name in listed.stdout.split(b"\0") if name]
    # The state of a stack of an older revision has the keys of that stack, which has long been gone.
    return [REPOSITORY / name for name in names if not name.startswith("tests/upgrade/")]


def test_no_file_holds_a_secret() -> None:
    found = []
    for path in tracked():
        data = path.read_bytes() if path.is_file() else b""
        found += [f"{path}: {kind}" for kind, pattern in SECRETS.items() if re.search(pattern, data)]
        found += [f"{path}: password {match[1]!r}" for match in ADDRESS.finditer(data) if match[1] not in EXAMPLES]
    assert found == []


@pytest.mark.parametrize(
    "text",
    [
        b"-----BEGIN RSA " + b"PRIVATE KEY-----\n" + b"MIIE" * 12,
        b"key = 'AK" + b"IA" + b"ABCDEFGHIJKLMNOP'",
        b"iq" + b"_" + b"aB3-" * 10 + b"xyz",
    ],
)
def test_a_secret_would_be_found(text: bytes) -> None:
    assert any(re.search(pattern, text) for pattern in SECRETS.values())


def test_a_password_in_an_address_would_be_found() -> None:
    match = ADDRESS.search(b"postgresql://user" + b":hunter2@host/db")
    assert match
    assert match[1] not in EXAMPLES
