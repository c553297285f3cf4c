from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from bezoar_core.orders import _inputs
from bezoar_core.store import Input


def artifact(kind: str, content: str) -> Any:  # noqa: ANN401 - stands in for an artifact
    manifest = SimpleNamespace(output={"kind": kind, "content": content})
    return SimpleNamespace(path=Path("artifacts") / f"{kind}-0", manifest=manifest, content=content)


def test_a_benchmark_named_for_its_items_is_a_source_even_where_it_has_run() -> None:
    made = {"kept": artifact("rows", "a"), "mt-bench": artifact("scores", "b")}
    state: Any = SimpleNamespace(inputs={"data:kept": "a", "against:mt-bench": "c", "own:seeds": "d"})
    assert list(_inputs(state, made)) == [
        Input(field="data", name="kept", kind="rows", content="a", artifact="rows-0"),
        Input(field="against", name="mt-bench", kind="source", content="c", artifact=None),
        Input(field="own", name="seeds", kind="source", content="d", artifact=None),
    ]
