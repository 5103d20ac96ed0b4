"""Serializers of the resources of the native wire."""
