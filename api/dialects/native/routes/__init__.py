"""Routes of the native wire, one file per resource."""
