"""What a user of the service holds: the Python client, and the `inferq` command on top of it."""

__version__ = "0.1.0"
