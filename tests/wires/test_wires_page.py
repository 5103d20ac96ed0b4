"""The page about the wires: its snippets run unchanged, and print what their comments say."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from shared.settings import Settings
from tests.stacks import SAMPLES, Stack

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "wires.md").read_text()


def snippets(section: str, language: str) -> list[str]:
    """Return the code blocks below one heading."""
    section_text = re.search(rf"^## {section}\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
    assert section_text
    return re.findall(rf"```{language}\n(.*?)```", section_text[1], re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder to run snippets in, with a picture and a private key."""
    shutil.copy(SAMPLES / "digit_7.png", tmp_path / "seven.png")
    key = rsa.generate_private_key(65537, 2048)
    (tmp_path / "private.pem").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    )
    return tmp_path


def printed_comments(code: str) -> list[str]:
    """Return the output that the comments of the code say it prints."""
    return re.findall(r"^.*(?:print|log)\(.*(?:#|//) (.+)$", code, re.MULTILINE)


def printed(stack: Stack, folder: Path, *command: str) -> list[str]:
    ours = {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HOME": str(folder), "HF_ENDPOINT": stack.url}
    done = subprocess.run(
        command, cwd=folder, env=os.environ | ours, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("section", ["Einstein Vision", "Hugging Face"])
def test_the_python_of_the_page_prints_what_it_says(stack: Stack, folder: Path, section: str) -> None:
    code = "\n".join(snippets(section, "python"))  # a later one goes on where the one before it ended
    expected = printed_comments(code)
    assert expected
    (folder / "page.py").write_text(code.replace("http://127.0.0.1:8000", stack.url))
    lines = printed(stack, folder, sys.executable, "-W", "ignore", "page.py")
    assert [line for line in lines if line in expected] == expected


@pytest.mark.node
@pytest.mark.parametrize(("section", "name"), [("SAP Leonardo", "page.cjs"), ("Hugging Face", "page.mjs")])
def test_the_javascript_of_the_page_prints_what_it_says(
    stack: Stack, npm: Path, folder: Path, section: str, name: str
) -> None:
    (code,) = snippets(section, "js")
    (folder / name).write_text(code.replace("http://127.0.0.1:8000", stack.url))
    (folder / "node_modules").symlink_to(npm / "node_modules")
    assert printed_comments(code)
    assert printed(stack, folder, "node", name)[-len(printed_comments(code)) :] == printed_comments(code)


def test_every_setting_that_the_page_names_exists() -> None:
    variables = {f"INFERQ_{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(r"INFERQ_\w+", PAGE)) <= variables | {"INFERQ_URL", "INFERQ_KEY"}
