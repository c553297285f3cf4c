"""Generation schemes, one module a plugin."""
