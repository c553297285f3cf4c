"""Training stages, one module a plugin."""
