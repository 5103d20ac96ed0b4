"""The embedded stack: all parts of the service as processes of one supervisor, in one folder."""
