"""The tokenizer that trains held against the SentencePiece model that it was converted from.

Some fast tokenizers of LLaMA's kind were converted wrongly, OpenLLaMA's among them: their ids are not those that the
model was trained on, and nothing fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

from bezoar_core.errors import StepFailed
from bezoar_core.prompt_format import PromptFormat, encode
from bezoar_core.records import Message, ModelDir, Row, RowsDir
from bezoar_core.rows import read_parquet
from bezoar_plugins.stages.conversations import conversation
from bezoar_plugins.stages.hh import Unusable

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor
    from transformers import PreTrainedTokenizerBase

_NAMED = 5


def conversations(row: Row, where: str) -> Iterator[Sequence[Message]]:
    """Yield what is trained on in a row: of a pair both; nothing of one that is dropped."""
    rejected = row.get("rejected")
    for one in (row, {"chosen": rejected}) if rejected is not None else (row,):
        turns = conversation(one, where)
        if not isinstance(turns, Unusable):
            yield turns


def require_same_tokens(
    start: ModelDir,
    tokenizer: PreTrainedTokenizerBase,
    format: PromptFormat,
    rows: RowsDir,
    read: Callable[[Row, str], Iterable[Sequence[Message]]] = conversations,
) -> None:
    """Raise `StepFailed` where the tokenizer gives a training row other ids than its SentencePiece model.

    The chain's base has the model, as `tokenizer.model`, or there is nothing to compare with. BOS comes first where the
    model has one and the format's text carries none. `read` returns what is trained on in a row.
    """
    pieces = _sentencepiece(start)
    if pieces is None:
        return
    wrong: list[int] = []
    first = ""
    number = 0
    for number, row in enumerate(read_parquet(rows.path), start=1):
        for turns in read(row, f"{rows.name}:{number}"):
            ids, wanted = encode(format, turns, tokenizer).ids, _ids(pieces, format, turns)
            if ids != wanted:
                first = first or _difference(tokenizer, pieces, ids, wanted)
                wrong += [] if wrong[-1:] == [number] else [number]
    if wrong:
        named = ", ".join(str(place) for place in wrong[:_NAMED]) + (", ..." if wrong[_NAMED:] else "")
        raise StepFailed(
            f"the tokenizer gives {len(wrong)} of {number} rows of `{rows.name}` other ids than the SentencePiece model"
            f" it was converted from (rows {named}); in row {wrong[0]}, {first}",
            where=str(start.base),
            tip="remove its `tokenizer.json`, so that it is converted anew from `tokenizer.model`;"
            ' for a missing BOS set `"add_bos_token": true` in `tokenizer_config.json`',
        )


def _sentencepiece(start: ModelDir) -> SentencePieceProcessor | None:
    file = start.base / "tokenizer.model"
    if not file.is_file():
        return None
    from sentencepiece import SentencePieceProcessor

    try:
        return SentencePieceProcessor(model_file=str(file))
    except (OSError, RuntimeError):  # others name their vocabulary so too
        print(f"{file} is no SentencePiece model: the tokenizer is not compared with it")
        return None


def _ids(pieces: SentencePieceProcessor, format: PromptFormat, turns: Sequence[Message]) -> list[int]:
    """Return the ids as `encode` should give them, each segment by itself."""
    ids = [pieces.bos_id()] if pieces.bos_id() >= 0 and format.bos else []
    for segment in format.segments(turns):
        ids += pieces.encode(segment.text)
        if segment.assistant and not format.closed:
            ids.append(pieces.eos_id())
    return ids


def _difference(
    tokenizer: PreTrainedTokenizerBase, pieces: SentencePieceProcessor, ids: Sequence[int], wanted: Sequence[int]
) -> str:
    place = next(place for place, (one, other) in enumerate(zip_longest(ids, wanted)) if one != other)
    has = f"`{tokenizer.convert_ids_to_tokens(ids[place])}` ({ids[place]})" if place < len(ids) else "nothing"
    should = f"`{pieces.id_to_piece(wanted[place])}` ({wanted[place]})" if place < len(wanted) else "nothing"
    return f"token {place + 1} is {has} and should be {should}"
