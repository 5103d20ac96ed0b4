"""The Python client of the service, and the `inferq` command on top of it."""

__version__ = "0.1.0"
