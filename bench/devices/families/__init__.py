"""The families that only simulated devices know; each module keeps the rules of `worker/families`."""
