"""The domain: types, states and rules without I/O; it imports only shared.errors and the standard library."""
