"""Parsers of the requests of the native wire."""
