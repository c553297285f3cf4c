"""Benchmarks, one module a plugin."""
