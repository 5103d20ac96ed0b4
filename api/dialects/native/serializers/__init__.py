"""How the native wire writes its resources."""
