"""`make audit`: known vulnerabilities of what is installed, secrets in the repository, and long generated tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent
PIP_AUDIT = ROOT / ".venv-audit" / "bin" / "pip-audit"
FACTOR = "10"
"""How many times more examples than usual the generated tests try; INFERQ_TEST_FUZZING names another number."""
TESTS = (
    "tests/unit/test_secrets.py",
    "tests/unit/test_damaged_files.py",
    "tests/wires/test_damaged_bodies.py",
    "tests/wires/test_generated_requests.py",
)


@dataclass(frozen=True)
class Vulnerabilities:
    """What is known of the installed packages."""

    found: list[str] = field(default_factory=list)
    unknown: str = ""
    """Why nothing is known; empty if something is."""


def vulnerabilities(command: Path = PIP_AUDIT) -> Vulnerabilities:
    """Ask pip-audit about the packages beside this Python."""
    if not command.exists():
        return Vulnerabilities(unknown="pip-audit could not be installed")
    arguments = ["--path", sysconfig.get_path("purelib"), "--format", "json", "--progress-spinner", "off"]
    done = subprocess.run([command, *arguments], capture_output=True, text=True, check=False)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):  # it writes its list only if it has reached its data
        lines = done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"]
        return Vulnerabilities(unknown=f"pip-audit could not reach its data: {lines[-1]}")
    return Vulnerabilities(
        [
            f"{package['name']} {package['version']}: {known['id']}, mended in "
            f"{', '.join(known.get('fix_versions') or ['no version yet'])}"
            for package in packages
            for known in package.get("vulns", [])
        ]
    )


def main() -> int:
    """Run all parts and return the exit status; a part that cannot be done says so, and is no failure."""
    known = vulnerabilities()
    if known.unknown:
        print(f"vulnerabilities: NOT CHECKED, {known.unknown}", flush=True)
    else:
        print("\n".join(known.found) or "vulnerabilities: none known", flush=True)
    environment = {"INFERQ_TEST_FUZZING": FACTOR, **os.environ}
    command = [sys.executable, "-m", "pytest", "--numprocesses", "auto", "--dist", "load", *TESTS, *sys.argv[1:]]
    tested = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
    return 1 if known.found else tested


if __name__ == "__main__":
    sys.exit(main())
