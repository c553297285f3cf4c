"""The samples of a run to look at: a choice of what the benchmarks measured, side by side, hostile text made harmless.

Samples of one item are shown together. First come items with a sample that could not be scored, then those on which
the models differ, by how much, then the rest; each benchmark has an equal share of the places.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import orjson

from bezoar_core.types import Json
from bezoar_release.report.account import Account, Entry
from bezoar_release.report.text import cut

MOST = 2000
"""Samples, that is lines of `samples.jsonl`."""

_Line: TypeAlias = tuple[Path, int]
"""Where a sample lies: its file, and the byte it begins at."""


@dataclass
class Item:
    """The samples of one item, over all models: what is known of them before they are read as a whole."""

    benchmark: str
    name: str
    category: str
    lines: list[tuple[str, _Line]] = field(default_factory=list)
    values: dict[str, dict[str, float]] = field(default_factory=dict)
    unscored: bool = False

    @property
    def spread(self) -> float:
        """Return by how much the models differ on it, in the figure in which they differ most."""
        return max((max(found.values()) - min(found.values()) for found in self.values.values()), default=0.0)


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The items to show, the samples there are in all, and the files that they lie in."""

    items: Sequence[Item]
    samples: int
    files: Sequence[str]
    problems: Sequence[str]


def select(account: Account, most: int = MOST) -> Selection:
    """Return the items to show, of at most `most` samples; the files are read line by line, and not kept."""
    by_benchmark: dict[str, dict[str, Item]] = {}
    files: list[str] = []
    problems: list[str] = []
    samples = 0
    for entry in account.entries.values():
        if entry.kind != "benchmark":
            continue
        path, why = entry.file("samples.jsonl")
        if path is None:
            if entry.manifest is not None:
                problems.append(f"{entry.name}: {why}")
            continue
        counted, damaged = _read(entry, path, by_benchmark.setdefault(entry.step, {}))
        samples += counted
        if counted:
            files.append(f"{path.parent.name}/{path.name}")
        if damaged:
            problems.append(f"{entry.name}: {damaged} lines of samples.jsonl are damaged")
    chosen = _chosen([sorted(items.values(), key=_rank) for items in by_benchmark.values()], most)
    return Selection(items=sorted(chosen, key=_rank), samples=samples, files=files, problems=problems)


def _read(entry: Entry, path: Path, items: dict[str, Item]) -> tuple[int, int]:
    """Add a file's samples to `items`; return how many there are, and how many lines are damaged."""
    model = entry.name.partition("@")[2]
    counted = damaged = begin = 0
    with path.open("rb") as file:
        for line in file:
            try:
                sample = orjson.loads(line)
                counted += _add(items, entry.step, model, sample, (path, begin))
            except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
                damaged += bool(line.strip())
            begin += len(line)
    return counted, damaged


def _add(items: dict[str, Item], benchmark: str, model: str, sample: Mapping[str, Json], line: _Line) -> bool:
    """Add a sample to those of its item; say whether it is one: a sum over others is none."""
    data = sample["data"]
    if isinstance(data, dict) and data.get("aggregate") is True:
        return False
    name, category = str(sample["item"]), str(sample["category"])
    item = items.setdefault(name, Item(benchmark, name, category))
    who = model or _compared(sample)
    item.lines.append((who, line))
    value = sample["value"]
    if sample["outcome"] != "scored":
        item.unscored = True
    elif isinstance(value, int | float) and model:
        item.values.setdefault(str(sample["metric"]), {})[model] = float(value)
    return True


def _compared(sample: Mapping[str, Json]) -> str:
    """Return whose sample one of a comparison is: the models that its data names."""
    data = sample["data"]
    if not isinstance(data, dict):
        raise TypeError("a sample's data is a mapping")
    named = [data[key] for key in ("model", "model_1", "model_2") if isinstance(data.get(key), str)]
    judge = data.get("judge")
    return " / ".join(map(str, named)) or (f"judge {judge}" if isinstance(judge, str) else "comparison")


def _rank(item: Item) -> tuple[int, float]:
    if item.unscored:
        return 0, 0.0
    return (1, -item.spread) if item.spread else (2, 0.0)


def _chosen(benchmarks: Sequence[Sequence[Item]], most: int) -> list[Item]:
    """Return the first items of each benchmark: an equal share of the places, and what others leave over."""
    chosen: list[Item] = []
    left = most
    for number, items in enumerate(sorted(benchmarks, key=lambda found: sum(len(one.lines) for one in found))):
        share = left // (len(benchmarks) - number)
        for item in items:
            if len(item.lines) > share:
                break
            share -= len(item.lines)
            left -= len(item.lines)
            chosen.append(item)
    return chosen


def shown(items: Sequence[Item]) -> Iterator[tuple[dict[str, Json], int]]:
    """Yield each item as the page's script takes it, and of how many samples it is."""
    for item in items:
        answers: dict[tuple[str, str], dict[str, Json]] = {}
        question: str = ""
        for model, (path, begin) in item.lines:
            with path.open("rb") as file:
                file.seek(begin)
                sample = orjson.loads(file.readline())
            data = sample["data"]
            question = question or _question(data)
            answer = answers.setdefault((model, _answer(data)), _answered(model, sample, data))
            words = cut(_words(data))
            if words not in str(answer["words"]):  # another grade of the same answer
                answer["words"] = f"{answer['words']}\n\n{words}".strip()
            figures = answer["figures"]
            assert isinstance(figures, list)
            figures.append([cut(str(sample["metric"]), 80), sample["value"], str(sample["outcome"])])
        found: dict[str, Json] = {
            "benchmark": cut(item.benchmark, 80),
            "item": cut(item.name, 80),
            "category": cut(item.category, 80),
            "question": cut(question),
            "differs": bool(item.spread),
            "answers": list(answers.values()),
        }
        yield found, len(item.lines)


def _answered(model: str, sample: Mapping[str, Json], data: Mapping[str, Json]) -> dict[str, Json]:
    expected = data.get("reference", data.get("target"))
    if "human_rating" in data:
        expected = f"rated {_text(data['human_rating'])} by a person"
    return {
        "model": cut(model, 80),
        "text": cut(_answer(data)),
        "expected": cut(_text(expected)) if expected is not None else "",
        "words": cut(_words(data)),
        "finish": cut(_text(data.get("finish", "")), 80),
        "figures": [],
    }


def _question(data: Mapping[str, Json]) -> str:
    """Return what was asked, under whatever name a benchmark has it."""
    prompts = data.get("prompts")
    if isinstance(prompts, list) and prompts:
        return _text(prompts[0])
    document = data.get("doc")
    inner = document.get("question") if isinstance(document, dict) else None
    found = data.get("question", data.get("prompt", data.get("instruction", inner)))
    return _text(found) if found is not None else _text(dict(data))


def _answer(data: Mapping[str, Json]) -> str:
    """Return what a model answered: its text, or the choice that it found most likely."""
    for key in ("answer", "response", "output", "reply"):
        if key in data:
            return _text(data[key])
    if "winner" in data:
        return _won(data)
    if "model_1" in data:
        return "no winner"
    asked, filtered = data.get("asked"), data.get("filtered")
    if isinstance(filtered, list) and filtered:
        if all(isinstance(one, list) and one and isinstance(one[0], int | float) for one in filtered):
            likely = [float(one[0]) for one in filtered]  # type: ignore[index,arg-type] # just looked at
            best = likely.index(max(likely))
            chosen = _text(asked[best]).strip() if isinstance(asked, list) and best < len(asked) else f"choice {best}"
            return f"{chosen}   (the likeliest of {len(likely)})" if len(likely) > 1 else chosen
        return "\n".join(_text(one) for one in filtered)
    message = data.get("message")
    return f"no answer: {_text(message)}" if message is not None and "judge" not in data else ""


def _won(data: Mapping[str, Json]) -> str:
    """Return which of two models won, judged in both orders."""
    winner = _text(data["winner"])
    named = f"won by {_text(data[winner])}" if winner in data else winner
    return named + ("" if data.get("consistent", True) else ": the two orders gave different winners")


def _words(data: Mapping[str, Json]) -> str:
    """Return what a judge wrote, or why there is nothing of it."""
    orders = {"judgment": "", "g1_judgment": "First order: ", "g2_judgment": "Second order: "}
    parts = [said + _text(data[key]) for key, said in orders.items() if data.get(key)]
    parts += [f"could not be read: {_text(data['complaint'])}"] if "complaint" in data else []
    parts += [f"no verdict: {_text(data['message'])}"] if "judge" in data and "message" in data else []
    return "\n\n".join(parts)


def _text(value: Json) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def embedded(items: Sequence[Mapping[str, Json]]) -> str:
    """Return JSON that can stand in a page's script element: no `<` of its ends that, whatever the text."""
    text = orjson.dumps(items).decode()
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
