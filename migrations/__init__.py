"""The schema, step by step, with Alembic; `python -m migrations` brings a database up to date."""
