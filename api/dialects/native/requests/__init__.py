"""How the native wire reads requests."""
