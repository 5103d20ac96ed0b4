"""Serializers of the resources of the native wire: from the types of the domain to the declared answers."""
