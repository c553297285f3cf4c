"""How much memory a stage will take beside what the machine has, before it starts."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal

from bezoar_core.fields import references
from bezoar_core.interfaces import Sized
from bezoar_core.plan import Plan, State
from bezoar_core.provenance import gpu_usable
from bezoar_core.records import Memory
from bezoar_core.sources import Source, parse


def memory_of(plan: Plan, state: State) -> Memory | str:
    """Return what a stage will take, or why that is not known; empty where it is made, or says nothing of it."""
    plugin = state.node.step.plugin
    if state.status == "cached" or not isinstance(plugin, Sized):
        return ""
    if find_spec("torch") is None or find_spec("transformers") is None:
        return "unknown: install bezoar[train]"
    source = source_of(plan, state.node.name)
    config = plan.sources.config(source) if source else None
    if config is None:
        return "unknown until fetched"
    try:
        return plugin.memory(config, gpu_usable())
    except Exception as error:  # a model of another kind: a plan is still a plan
        return f"unknown: {type(error).__name__}: {str(error).partition(chr(10))[0]}"


def shortage(name: str, memory: Memory, free: int | None) -> tuple[Literal["warning", "error"], str] | None:
    """Return what is to be said where a step takes more than is free: an error where its weights alone do."""
    if free is None or memory.total <= free:
        return None
    least = max(memory.weights, memory.merging)
    takes = f"step `{name}` takes about {in_words(memory.total)}"
    if least > free:
        return "error", f"{takes}, its weights alone {in_words(least)}, and {in_words(free)} are free"
    return "warning", f"{takes}, and {in_words(free)} are free: lower `batch_size` or `max_length`"


def in_words(size: float) -> str:
    """Return bytes in the unit that suits them, in three digits."""
    for unit in ("B", "KiB", "MiB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size = size / 1024
    return f"{size:.3g} GiB"


def source_of(plan: Plan, name: str) -> Source | None:
    """Return the source of the model that a chain of stages began with: all have its shape and its tokenizer."""
    while name in plan.registry.steps:
        refs = references(plan.registry.steps[name].plugin)
        name = next((ref.name for field, ref in refs if field == "model"), "")
    entry = plan.registry.models.get(name)
    return parse(entry.source) if entry and entry.source else None
