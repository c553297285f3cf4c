"""Which prompt format a model has, following the steps that trained it."""

from __future__ import annotations

from bezoar_core.fields import references
from bezoar_core.registry import Registry

DEFAULT_FORMAT = "chat"


def format_of(registry: Registry, name: str) -> str:
    """Return the format of a model, or of a training step's output: its own field, else its start model's."""
    if name in registry.models:
        return registry.models[name].format or DEFAULT_FORMAT
    step = registry.steps[name]
    own = getattr(step.plugin, "format", None)
    if isinstance(own, str):
        return own
    start = next(ref.name for field, ref in references(step.plugin) if field == "model")
    return format_of(registry, start)
