"""The adapters put the database, the queue, blob storage, HTTP fetching and rate limits behind plain methods."""
