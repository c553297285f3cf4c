"""What TRL trains on, taken from its own batches, is what generation is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from local_models import tokenizer_of
from stage_runs import tiny_dpo, tiny_sft, train
from trl import DPOTrainer, SFTTrainer

from bezoar_core.prompt_format import encode, get_format
from bezoar_core.records import Message, ModelDir

ANSWERS = (
    "**Bold** first.",
    '"Quoted," he said.',
    "\nOn a new line.",
    "(In brackets)",
    "🙂 smiles",
    "Plain.",
    " spaced",
)

Batch = dict[str, torch.Tensor]


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[Batch]:
    """Return every batch that a trainer computed its loss on."""
    seen: list[Batch] = []
    for trainer in (SFTTrainer, DPOTrainer):
        original = trainer.compute_loss

        def spied(
            self: object, model: object, inputs: Batch, *args: object, _original: object = original, **kwargs: object
        ) -> object:
            seen.append(dict(inputs))
            return _original(self, model, inputs, *args, **kwargs)  # type: ignore[operator]

        monkeypatch.setattr(trainer, "compute_loss", spied)
    return seen


def _rows(batches: Sequence[Batch], column: str, marked: str) -> set[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Return each row's ids, and the places marked, without padding."""
    found = set()
    for batch in batches:
        for ids, mask, mark in zip(batch["input_ids"], batch["attention_mask"], batch[column], strict=True):
            kept = ids[mask.bool()]
            here = (mark != -100) if marked == "labels" else mark.bool()
            found.add((tuple(kept.tolist()), tuple(here[mask.bool()].nonzero().flatten().tolist())))
    return found


@pytest.mark.parametrize("format", ["openbezoar", "hh", "openbezoar-dialogue", "chat"])
@pytest.mark.parametrize("loss", ["full", "completion"])
def test_sft_s_batches_are_what_encode_gives(
    tiny: ModelDir, tmp_path: Path, batches: list[Batch], format: str, loss: str
) -> None:
    tokenizer = tokenizer_of(tiny)
    form = get_format(format, tokenizer)
    turns = [[Message("user", f"Question {n}?"), Message("assistant", answer)] for n, answer in enumerate(ANSWERS)]
    turns.append([*turns[0], Message("user", "And then?"), Message("assistant", ANSWERS[1])])
    stage = replace(tiny_sft(), format=format, loss=loss, epochs=1, validation_share=0.0)  # type: ignore[arg-type]
    rows = [{"messages": [{"role": m.role, "content": m.content} for m in row]} for row in turns]
    train(stage, tiny, rows, None, tmp_path / "sft")
    expected = set()
    for row in turns:
        encoded = encode(form, row, tokenizer)
        learned = [loss == "full" or assistant for assistant in encoded.assistant]
        expected.add((tuple(encoded.ids), tuple(place for place, one in enumerate(learned) if one)))
    assert len(expected) == len(turns)
    assert _rows(batches, "labels", "labels") == expected


def test_openbezoar_s_ids_are_prompt_answer_and_eos_tokenised_apart(
    tiny: ModelDir, tmp_path: Path, batches: list[Batch]
) -> None:
    tokenizer = tokenizer_of(tiny)
    rows = [{"instruction": f"Q{n}", "response": answer, "system": "S"} for n, answer in enumerate(ANSWERS)]
    train(replace(tiny_sft(), epochs=1, validation_share=0.0), tiny, rows, None, tmp_path / "sft")
    expected = set()
    for n, answer in enumerate(ANSWERS):
        prompt = f"### System:\nS\n\n### Instruction:\nQ{n}\n\n### Response:"
        apart = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in (prompt, answer)]
        expected.add((*apart[0], *apart[1], tokenizer.eos_token_id))
    assert {ids for ids, _ in _rows(batches, "labels", "labels")} == expected


@pytest.mark.parametrize("format", ["openbezoar", "hh", "chat"])
def test_dpo_s_batches_are_the_prompt_and_an_answer(
    tiny: ModelDir, tmp_path: Path, batches: list[Batch], format: str
) -> None:
    tokenizer = tokenizer_of(tiny)
    form = get_format(format, tokenizer)
    asked = [Message("user", "May I ask?"), Message("assistant", "Of course."), Message("user", "What is it?")]
    opening = "\n\nHuman: May I ask?\n\nAssistant: Of course.\n\nHuman: What is it?\n\nAssistant: "
    answers = [answer.strip() for answer in ANSWERS]
    rows = [{"chosen": opening + answer, "rejected": opening + f"No. {answer}"} for answer in answers]
    train(replace(tiny_dpo(), format=format, epochs=1), tiny, rows, None, tmp_path / "dpo")
    prompt = encode(form, asked, tokenizer).ids
    expected = set()
    for answer in [*answers, *(f"No. {answer}" for answer in answers)]:
        whole = encode(form, [*asked, Message("assistant", answer)], tokenizer)
        end = max(place for place, own in enumerate(whole.assistant) if own) + 1
        assert whole.ids[: len(prompt)] == prompt
        assert whole.ids[end - 1] == tokenizer.eos_token_id
        expected.add((tuple(whole.ids[:end]), tuple(range(len(prompt), end))))
    assert len(expected) == 2 * len(rows)
    assert _rows(batches, "completion_mask", "mask") == expected


def dialogues(count: int, systems: bool) -> list[tuple[Message, ...]]:
    """Return rows of one to four exchanges whose answers open in all those ways, two in three under a system text."""
    made = []
    for number in range(count):
        lead = (Message("system", f"Rule {number}: be brief."),) if systems and number % 3 else ()
        turns = [
            message
            for turn in range(1 + number % 4)
            for message in (
                Message("user", f"Question {number}.{turn}?"),
                Message("assistant", f"{ANSWERS[(number + turn) % len(ANSWERS)]} {number}"),
            )
        ]
        made.append((*lead, *turns))
    return made


@pytest.mark.parametrize("format", ["openbezoar", "hh", "openbezoar-dialogue", "chat"])
def test_two_hundred_dialogues_are_learned_as_they_are_prompted(
    tiny: ModelDir, tmp_path: Path, batches: list[Batch], format: str
) -> None:
    tokenizer = tokenizer_of(tiny)
    form = get_format(format, tokenizer)
    rows = dialogues(200, systems=True)
    stage = replace(
        tiny_sft(), format=format, loss="completion", quantise=None, max_steps=None, epochs=1, batch_size=8,
        validation_share=0.0, max_length=512,
    )  # fmt: skip
    told = [{"messages": [{"role": m.role, "content": m.content} for m in row]} for row in rows]
    metrics = train(stage, tiny, told, None, tmp_path / "sft").metrics
    assert (metrics["rows_used"], metrics["rows_dropped"], metrics["rows_truncated"]) == (200, 0, 0)
    trained = dict(_rows(batches, "labels", "labels"))
    assert len(trained) == 200
    for row in rows:
        encoded = encode(form, row, tokenizer)
        learned = trained[tuple(encoded.ids)]
        assert learned == tuple(place for place, one in enumerate(encoded.assistant) if one)
        # what generation is fed before the last answer (tests/parity holds `generate` to `encode`)
        prompt = encode(form, row[:-1], tokenizer).ids
        assert encoded.ids[: len(prompt)] == prompt
        assert len(prompt) in learned and len(prompt) - 1 not in learned
