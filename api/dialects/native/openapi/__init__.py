"""The native wire as an OpenAPI document."""
