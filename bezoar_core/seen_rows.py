"""A row as the model sees it: in a stage's format, token by token."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby, islice
from typing import TYPE_CHECKING

from bezoar_core.binding import dataset_rows
from bezoar_core.errors import BezoarError, UsageError
from bezoar_core.fields import references
from bezoar_core.formats import format_of
from bezoar_core.interfaces import Seeing
from bezoar_core.memory import source_of
from bezoar_core.orders import dataset_spec
from bezoar_core.plan import Plan, State
from bezoar_core.prompt_format import check_format, get_format
from bezoar_core.records import Row, Seen
from bezoar_core.types import DatasetRef

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Piece:
    """A stretch of a text whose tokens fare alike."""

    text: str
    tokens: int
    target: bool
    learned: bool
    cut: bool

    @property
    def told(self) -> str:
        """Return how it fares, in words."""
        if self.cut:
            return f"cut off, {self.tokens} tokens"
        return f"{'target' if self.target else 'prompt'}, {'' if self.learned else 'not '}learned, {self.tokens} tokens"


def seen_row(
    plan: Plan, states: dict[str, State], name: str, number: int, form: str | None
) -> Iterator[tuple[str, list[Piece]]]:
    """Yield title and pieces of each text of row `number` (from 1) of a step's rows, or of those a stage trains on.

    The stage is the first that trains on the rows, and the format its own unless `form` names another.
    """
    stage = _stage(plan, name)
    plugin = plan.registry.steps[stage].plugin
    data = _data(plan, stage) if stage == name else name
    form = form or format_of(plan.registry, stage)
    try:
        check_format(form)
    except BezoarError as error:
        raise UsageError(error.message, tip=error.tip) from None
    row = _row(_rows(plan, states, data), data, number)
    tokenizer = _tokenizer(plan, stage)
    where = f"{data}:{number}"
    if not isinstance(plugin, Seeing):
        raise BezoarError(f"stage `{stage}` cannot show how it sees a row")
    for seen in plugin.seen(row, where, get_format(form, tokenizer), tokenizer):
        title = f"{where}, as `{stage}` sees it in `{form}`" + (f", {seen.title}" if seen.title else "")
        yield title, list(_pieces(seen, tokenizer))


def _stage(plan: Plan, name: str) -> str:
    """Return the step itself where it is a stage, else the first stage that trains on what comes of its rows."""
    steps = plan.registry.steps
    reached = [name]
    for one in reached:  # grows as it is gone through
        if one in steps and steps[one].kind == "stage":
            return one
        users = [step for step in steps if one in _read(plan, step) and step not in reached]
        reached += sorted(users, key=lambda step: steps[step].kind != "stage")
    raise BezoarError(f"no stage trains on the rows of `{name}`", tip="name a stage, or rows that one reads")


def _read(plan: Plan, step: str) -> list[str]:
    refs = references(plan.registry.steps[step].plugin)
    return [ref.name for field, ref in refs if isinstance(ref, DatasetRef) and field in {"data", "seeds"}]


def _data(plan: Plan, stage: str) -> str:
    return _read(plan, stage)[0]


def _rows(plan: Plan, states: dict[str, State], data: str) -> Iterable[Row]:
    if data in states and states[data].artifact is None:
        raise BezoarError(f"`{data}` is not made: {states[data].why}", tip=f"`bezoar run --until {data}` makes it")
    artifacts = {name: state.artifact for name, state in states.items() if state.artifact}
    return dataset_rows(dataset_spec(plan, artifacts, data), plan.sources)


def _row(rows: Iterable[Row], data: str, number: int) -> Row:
    row = next(islice(rows, number - 1, None), None)
    if row is None:
        raise UsageError(f"`{data}` has no row {number}", tip="the first row is 1")
    return row


def _tokenizer(plan: Plan, stage: str) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    source = source_of(plan, stage)
    config = plan.sources.config(source) if source else None
    if source is None or config is None:
        raise BezoarError(f"the tokenizer of `{stage}` is not fetched yet", tip=f"`bezoar run --until {stage}` does it")
    kept = config.parent if (config.parent / "tokenizer_config.json").is_file() else plan.sources.model_dir(source)
    return AutoTokenizer.from_pretrained(kept)


def _pieces(seen: Seen, tokenizer: PreTrainedTokenizerBase) -> Iterator[Piece]:
    tokens = [
        (target, learned, place >= seen.kept)
        for place, (target, learned) in enumerate(zip(seen.target, seen.learned, strict=True))
    ]
    places = iter(seen.ids)
    for (target, learned, cut), same in groupby(tokens):
        ids = list(islice(places, sum(1 for _ in same)))
        text = tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        yield Piece(text, len(ids), target, learned, cut)
