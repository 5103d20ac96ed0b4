"""The OpenAPI document of the native wire, made from its routes and from the declared requests and answers."""
