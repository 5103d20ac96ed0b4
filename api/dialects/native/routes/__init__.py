"""The native wire's routes, one file per resource."""
