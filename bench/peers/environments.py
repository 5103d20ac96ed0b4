"""Environments: each peer is installed into a virtual environment of its own; all share the benchmark's torch.

    CACHE/base-<hash>/        links to torch, torchvision, Pillow and safetensors, to what these require, and to bench
    CACHE/litserve-<hash>/    a virtual environment; a `.pth` file in it names the folder of links

So every peer runs the same torch as inferq without a second download of up to 5 GB, and sees none of the other packages
that inferq is installed with. An environment that sees the benchmark's whole site-packages was rejected: a peer would
take its Flask or its Celery from there, whatever it asks for.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

import bench

SHARED = ("torch", "torchvision", "pillow", "safetensors")
"""What the peers' users would install beside the framework, in the versions that inferq runs with."""
_LIMIT = 900.0
"""Seconds for one installation."""
_READY = "ready"
"""A file in an environment whose installation was finished; one that was interrupted is made again."""


class CannotInstall(Exception):
    """A peer cannot be installed; the text is the reason."""


def cache() -> Path:
    """Return the folder of the environments: INFERQ_BENCH_ENVS, or `inferq-bench` in the user's cache folder."""
    if named := os.environ.get("INFERQ_BENCH_ENVS"):
        return Path(named).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "inferq-bench"


def create(name: str, requirements: Sequence[str]) -> Path:
    """Return the Python of an environment with these requirements, installing them if needed; raises CannotInstall."""
    links = base()
    folder = cache() / f"{name}-{_hash(links.name, *requirements)}"
    python = folder / "bin" / "python"
    if not (folder / _READY).exists():
        shutil.rmtree(folder, ignore_errors=True)
        _run(sys.executable, "-m", "venv", str(folder))
        for packages in folder.glob("lib/python*/site-packages"):
            (packages / "shared.pth").write_text(f"{links}\n")
        _run(str(python), "-m", "pip", "install", "--quiet", *requirements)
        (folder / _READY).touch()
    return python


def versions(python: Path, names: Iterable[str]) -> dict[str, str]:
    """Return distribution -> version, as installed in an environment; raises CannotInstall."""
    code = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]), sep='\\n')"
    names = list(names)
    return dict(zip(names, _run(str(python), "-c", code, *names).split(), strict=True))


def environment(**values: str) -> dict[str, str]:
    """Return the variables of a peer's process: those of the system, and `values`; none of Python's or inferq's."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith(("PYTHON", "INFERQ", "VIRTUAL"))}
    return kept | values


def base() -> Path:
    """Return the folder of links, making it if needed."""
    distributions = _closure(SHARED)
    names = (f"{each.name} {each.version} {each.locate_file('')}" for each in distributions)
    folder = cache() / f"base-{_hash(sys.version, *names)}"
    folder.mkdir(parents=True, exist_ok=True)
    for distribution in distributions:
        for top in {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
            _link(folder / top, Path(str(distribution.locate_file(top))))
    _link(folder / "bench", Path(bench.__file__).parent)
    return folder


def _closure(names: Iterable[str]) -> list[metadata.Distribution]:
    """Return these distributions and what they require, directly or not, without extras."""
    found: dict[str, metadata.Distribution] = {}
    wanted = list(names)
    while wanted:
        distribution = metadata.distribution(wanted.pop())
        if distribution.name not in found:
            found[distribution.name] = distribution
            requirements = map(Requirement, distribution.requires or ())
            wanted += [each.name for each in requirements if not each.marker or each.marker.evaluate({"extra": ""})]
    return sorted(found.values(), key=lambda distribution: distribution.name)


def _link(link: Path, target: Path) -> None:
    if link.is_symlink() and link.readlink() == target:
        return
    link.unlink(missing_ok=True)
    link.symlink_to(target)


def _hash(*texts: str) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:10]


def _run(*command: str) -> str:
    """Run a program and return what it prints; raises CannotInstall with its last line."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_LIMIT, check=False, env=environment(), cwd=cache()
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotInstall(str(error)) from error
    if done.returncode:
        raise CannotInstall((done.stderr.strip() or f"{command[0]} failed").splitlines()[-1])
    return done.stdout
