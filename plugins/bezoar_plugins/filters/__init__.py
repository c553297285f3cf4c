"""Filters, one module a plugin."""
