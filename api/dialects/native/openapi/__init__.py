"""The OpenAPI document of the native wire."""
