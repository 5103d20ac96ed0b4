"""The domain: types, states and rules; pure, it imports nothing but shared.errors and the standard library."""
