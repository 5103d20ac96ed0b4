"""`python -m migrations` updates the schema of the database at DATABASE_URL; exits with 2 and one line on an error."""

from __future__ import annotations

import os
import sys

from alembic import command
from alembic.config import Config
from sqlalchemy.exc import SQLAlchemyError

from shared import errors
from shared.settings import from_environment


def configuration(url: str) -> Config:
    """Return Alembic's configuration; no ini file is read, since nothing in it would differ between installations."""
    config = Config()
    config.set_main_option("script_location", os.path.dirname(__file__))
    config.attributes["url"] = url
    return config


def upgrade(url: str) -> None:
    """Update the schema to the newest step; creates the folder of an SQLite file. Raises SQLAlchemyError, OSError."""
    if url.startswith("sqlite:///"):
        os.makedirs(os.path.dirname(url.removeprefix("sqlite:///")) or ".", exist_ok=True)
    command.upgrade(configuration(url), "head")


def main() -> int:
    """Run the update and return the exit status: 0, or 2 with one line on stderr."""
    try:
        settings = from_environment()
    except ValueError as error:  # a setting is not valid
        print(f"inferq: {error}", file=sys.stderr)
        return 2
    try:
        upgrade(settings.database_url)
    except (SQLAlchemyError, errors.Unavailable, OSError) as error:
        print(f"inferq: the database cannot be brought up to date: {str(error).splitlines()[0]}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
