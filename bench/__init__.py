"""The benchmark: the real HTTP path beside the in-process limit of the same run, with its results as files."""
