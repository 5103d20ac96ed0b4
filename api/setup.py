"""The checks before the service listens: a storage that is there, a filled catalogue, a default model, and no public
address without a key.

Prints one line of JSON with the default model and why it is the default; exits with 2 and one line on stderr when the
service must not listen.
"""

from __future__ import annotations

import json
import sys

from shared import errors
from shared.container import build
from shared.services import catalogue, keys
from shared.settings import from_environment


def main() -> int:
    """Run the checks and return the exit status: 0, or 2 with one line on stderr."""
    try:
        settings = from_environment()
        container = build(settings)
    except ValueError as error:  # a setting is not valid
        print(f"inferq: {error}", file=sys.stderr)
        return 2
    try:
        if not keys.may_listen(container, settings.host):
            print(
                f"inferq: refusing to listen on {settings.host} without a key: the service would be open to all. "
                "Create one first on loopback (`inferq keys create --name NAME --scope keys --scope infer --scope "
                "models`), or set INFERQ_ADMIN_KEY.",
                file=sys.stderr,
            )
            return 2
        container.storage.ping()
        catalogue.fill(container)
        name, why = catalogue.decide_default(container)
    except errors.InferqError as error:
        print(f"inferq: {error.message}", file=sys.stderr)
        return 2
    finally:
        container.close()
    print(json.dumps({"default_model": name, "why": why}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
