"""Adapters: the database, the queue, storage, fetching and rate limits behind plain methods."""
