"""Bring the database that DATABASE_URL names up to date, or say in one line why not and exit with 2."""

from __future__ import annotations

import os
import sys

from alembic import command
from alembic.config import Config
from sqlalchemy.exc import SQLAlchemyError

from shared import errors
from shared.settings import from_environment


def configuration(url: str) -> Config:
    """Alembic's configuration without its ini file: there is nothing in it that differs between installations."""
    config = Config()
    config.set_main_option("script_location", os.path.dirname(__file__))
    config.attributes["url"] = url
    return config


def upgrade(url: str) -> None:
    """Make the database, where it is a file, and bring its schema up to date."""
    if url.startswith("sqlite:///"):
        os.makedirs(os.path.dirname(url.removeprefix("sqlite:///")) or ".", exist_ok=True)
    command.upgrade(configuration(url), "head")


def main() -> int:
    """Exit status: 0, or 2 with one line on stderr."""
    try:
        settings = from_environment()
    except ValueError as error:  # a setting that cannot be taken
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
