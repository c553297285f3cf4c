"""Clients: the ways to a model, one module a plugin."""
