"""One of several fixed answers, by way of a provider's structured output."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from bezoar_core.types import Json


def schema(choices: Sequence[str]) -> dict[str, Json]:
    """Return the JSON schema of an object whose `choice` is one of `choices`."""
    return {
        "type": "object",
        "properties": {"choice": {"type": "string", "enum": list(choices)}},
        "required": ["choice"],
        "additionalProperties": False,
    }


def read(text: str) -> str:
    """Return the choice in a reply; a server that did not keep to the schema is taken at its word."""
    try:
        reply = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    choice = reply.get("choice") if isinstance(reply, dict) else None
    return choice if isinstance(choice, str) else text
