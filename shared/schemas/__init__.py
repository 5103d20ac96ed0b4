"""The requests and answers of the native wire, each declared once.

The API parses and writes these types, `/openapi.json` describes them, and the Python client returns them. They import
msgspec and the enumerations of the domain only, so that the client alone stays a small installation.
"""
