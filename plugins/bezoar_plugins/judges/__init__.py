"""Judges, one module a plugin."""
