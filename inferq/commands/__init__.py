"""One file per command group; what they share is in options.py and screen.py."""
