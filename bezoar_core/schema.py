"""One schema for the registry: it checks an entry, and makes the JSON schema editors use."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

import orjson

from bezoar_core.errors import Fault, nearest
from bezoar_core.types import Json
from bezoar_core.yaml_tree import Spot, Tree

if TYPE_CHECKING:
    from pydantic import TypeAdapter

    from bezoar_core.plugins import Plugins

T = TypeVar("T")


@cache
def _adapter(cls: Any) -> TypeAdapter[Any]:  # noqa: ANN401 - any plugin class
    from pydantic import TypeAdapter

    return TypeAdapter(cls)


def keys(cls: type) -> list[str]:
    """Return the keys a plugin's entry may have."""
    return [f.name for f in dataclasses.fields(cls) if f.init]


def check(cls: type[T], data: Mapping[str, Json], spot: Spot, tree: Tree, faults: list[Fault]) -> T | None:
    """Return an instance of `cls` from `data`, or None with what is wrong added to `faults`.

    Unknown keys are the caller's to find (`unknown_keys`), since an entry is often shared by two classes.
    """
    from pydantic import ValidationError

    try:
        made = _adapter(cast(Hashable, cls)).validate_json(orjson.dumps(dict(data)), strict=True)
        return made if isinstance(made, cls) else None
    except ValidationError as error:
        found: dict[Spot, list[str]] = {}
        for detail in error.errors(include_url=False, include_input=False):
            here = _spot(detail["loc"], dict(data))
            if detail["type"] in {"missing", "missing_argument"}:
                here, message = _spot(detail["loc"][:-1], dict(data)), f"`{detail['loc'][-1]}` is required"
            else:
                of = f"`{(spot + here)[-1]}`: " if spot + here else ""  # a work order's entry has no key to name
                message = of + _lower(detail["msg"])
            if message not in found.setdefault(here, []):
                found[here].append(message)
        for here, messages in found.items():
            faults += [Fault(tree.place(spot + here), m) for m in _joined(here, messages)]
        return None


def _joined(here: Spot, messages: list[str]) -> list[str]:
    """Put the alternatives of a union into one sentence; required keys stay apart."""
    if not here or messages[0].endswith("is required"):
        return messages
    first, *rest = messages
    return [" or ".join([first, *(m.partition(": ")[2] for m in rest)])]


def _spot(loc: Iterable[str | int], data: Json) -> Spot:
    spot: Spot = ()
    for part in loc:
        if isinstance(data, dict) and part in data:
            data = data[str(part)]
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
        else:
            continue
        spot = (*spot, part)
    return spot


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def unknown_keys(data: Mapping[str, Json], known: Iterable[str], spot: Spot, tree: Tree) -> list[Fault]:
    """Return a fault for each key of `data` that is not known, with the nearest that is."""
    names = list(known)
    return [
        Fault(tree.place((*spot, key)), f"unknown key `{key}`", nearest(key, names)) for key in data if key not in names
    ]


def json_schema(plugins: Plugins, common: Mapping[str, type]) -> dict[str, Json]:
    """Return the JSON schema of the registry with the plugins at hand.

    `common` gives the classes of the sections that no plugin owns, by section name (`model`, `step`, `dataset`, ...).
    """
    definitions: dict[str, Json] = {}

    def entry(cls: type, extra: type | None, key: str, name: str) -> dict[str, Json]:
        parts = [_adapter(cls).json_schema(ref_template=f"#/$defs/{name}.{{model}}")]
        if extra is not None:
            parts.append(_adapter(extra).json_schema(ref_template=f"#/$defs/{name}.{{model}}"))
        properties: dict[str, Json] = {}
        required: list[Json] = []
        for part in parts:
            properties |= part.get("properties", {})
            required += part.get("required", [])
            for model, definition in part.get("$defs", {}).items():
                definitions[f"{name}.{model}"] = definition
        if key:
            properties[key] = {"const": name.rpartition(":")[2]}
        return {
            "type": "object",
            "description": (cls.__doc__ or "").strip(),
            "properties": properties,
            "required": required,
            "additionalProperties": False,
        }

    def choices(kinds: Iterable[str], extra: type | None, key: str) -> list[Json]:
        wanted = set(kinds)
        return [entry(o.cls, extra, key, f"{o.kind}:{o.name}") for o in plugins.owned if o.kind in wanted]

    steps = choices(("scheme", "filter", "stage", "benchmark"), common["step"], "use")
    sections: dict[str, Json] = {
        "bezoar": {"const": 1},
        "name": {"type": "string", "minLength": 1},
        "seed": {"type": "integer"},
        "budget": entry(common["budget"], None, "", "budget"),
        "models": _each({"anyOf": choices(("client",), common["model"], "client")}),
        "datasets": _each(entry(common["dataset"], None, "", "dataset")),
        "judges": _each({"anyOf": choices(("judge",), None, "use")}),
        "steps": _each({"anyOf": steps}),
        "release": {"type": "object"},
        "profiles": {"type": "object"},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Bezoar registry",
        "type": "object",
        "properties": sections,
        "required": ["bezoar", "name", "steps"],
        "additionalProperties": False,
        "$defs": definitions,
    }


def _each(schema: dict[str, Json]) -> dict[str, Json]:
    return {"type": "object", "additionalProperties": schema}
