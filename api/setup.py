"""What must be true before the service listens: a catalogue, a default model, and no open door to the outside.

Prints one line of JSON with the default model and why; exits with 2 and one line when listening must be refused.
"""

from __future__ import annotations

import json
import socket
import sys
from urllib.parse import urlsplit

from shared import errors, models, tenants
from shared.settings import Settings, from_environment
from shared.tools import build


def answers(settings: Settings) -> bool:
    """Whether the server of the pretrained weights takes a connection within the time that it is given."""
    parts = urlsplit(settings.weights_url or models.WEIGHTS_SERVER)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        with socket.create_connection((parts.hostname or "", port), timeout=settings.weights_timeout):
            return True
    except OSError:
        return False


def main() -> int:
    """Exit status: 0, or 2 with one line on stderr."""
    try:
        settings = from_environment()
        tools = build(settings)
    except ValueError as error:  # a setting that cannot be read
        print(f"inferq: {error}", file=sys.stderr)
        return 2
    try:
        if not tenants.may_listen(tools, settings.host):
            print(
                f"inferq: refusing to listen on {settings.host} without a key: anybody could use the service. "
                "Create one first on loopback (`inferq keys create --name NAME --scope keys --scope infer --scope "
                "models`), or set INFERQ_ADMIN_KEY.",
                file=sys.stderr,
            )
            return 2
        models.fill_catalogue(tools)
        name, why = models.decide_default(tools, lambda: answers(settings))
    except errors.InferqError as error:
        print(f"inferq: {error.message}", file=sys.stderr)
        return 2
    finally:
        tools.close()
    print(json.dumps({"default_model": name, "why": why}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
