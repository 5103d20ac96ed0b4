"""The embedded stack runs all parts of the service as processes of a supervisor, with all data in one folder."""
