"""The queue: streams, notifications, the worker registry, locks, result slots and events, in Redis."""
