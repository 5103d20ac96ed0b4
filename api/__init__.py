"""The HTTP side: dialects of the wires over Flask, the pages, and the server that runs them."""
