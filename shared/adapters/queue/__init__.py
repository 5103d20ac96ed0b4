"""The queue keeps streams, notifications, the worker registry, locks, result slots and events in Redis."""
