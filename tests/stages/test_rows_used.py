"""What becomes of each row: used, cut, held back or dropped with a reason, and never silently gone."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from local_models import EXAMPLES, tokenizer_of
from stage_runs import digests, instructions, preferences, tiny_dpo, tiny_kto, tiny_sft, train
from transformers import Trainer

from bezoar_core.conversion import from_random
from bezoar_core.errors import BezoarError, DataError, StepFailed
from bezoar_core.prompt_format import encode, get_format
from bezoar_core.records import Message, ModelDir, Row
from bezoar_core.rows import read_parquet
from bezoar_plugins.stages.dpo import Dpo
from bezoar_plugins.stages.kto import Kto

LONG = "word " * 400


def test_sft_counts_every_row(tiny: ModelDir, tmp_path: Path) -> None:
    empty: Row = {"instruction": "Say something.", "response": " "}
    blank: Row = {"instruction": "", "response": "b"}
    long: Row = {"instruction": "Count.", "response": LONG}
    rows = [empty, *instructions(0, 8), blank, long, blank]
    unseen = [*instructions(8, 2), empty]
    trained = train(tiny_sft(), tiny, rows, unseen, tmp_path / "sft")
    figures = trained.metrics
    assert {
        name: figures[name] for name in figures if "rows" in name or "dropped" in name or name == "heldout_truncated"
    } == {
        "rows_used": 8,
        "rows_validation": 1,
        "rows_dropped": 3,
        "dropped_empty_answer": 1,
        "dropped_empty_prompt": 2,
        "rows_truncated": 1,
        "heldout_rows": 2,
        "heldout_dropped": 1,
        "heldout_truncated": 0,
    }
    tokenizer = tokenizer_of(tiny)
    whole = encode(get_format("openbezoar"), [Message("user", "Count."), Message("assistant", LONG)], tokenizer)
    assert figures["tokens_truncated"] == len(whole.ids) - 256
    assert list(read_parquet(trained.out / "dropped.parquet")) == [
        {"drop_reason": "empty_answer", "drop_detail": "", **empty},
        {"drop_reason": "empty_prompt", "drop_detail": "", **blank},
        {"drop_reason": "empty_prompt", "drop_detail": "", **blank},
    ]
    assert [row["drop_reason"] for row in read_parquet(trained.out / "heldout_dropped.parquet")] == ["empty_answer"]


def test_dpo_counts_every_row(tiny: ModelDir, tmp_path: Path) -> None:
    good = preferences(0, 6)
    same: Row = {**good[0], "rejected": good[0]["chosen"]}
    broken: Row = {"chosen": "\n\nAssistant: b", "rejected": "\n\nAssistant: c"}
    asks_long: Row = {key: f"\n\nHuman: {LONG}\n\nAssistant: {key}" for key in ("chosen", "rejected")}
    answers_long: Row = {**good[0], "chosen": f"{good[0]['chosen']} {LONG}"}
    agrees_long: Row = {key: f"\n\nHuman: a\n\nAssistant: {LONG}{key}" for key in ("chosen", "rejected")}
    rows = [same, *good, broken, asks_long, answers_long, agrees_long]
    trained = train(tiny_dpo(), tiny, rows, None, tmp_path / "dpo")
    figures = trained.metrics
    assert {name: figures[name] for name in figures if "rows" in name or "dropped" in name} == {
        "rows_used": 7,
        "rows_dropped": 4,
        "dropped_prompt_too_long": 1,
        "dropped_same_answers": 2,
        "dropped_turns_do_not_alternate": 1,
        "rows_truncated": 1,
    }
    assert figures["tokens_truncated"] > 0
    details = {str(row["drop_detail"]) for row in read_parquet(trained.out / "dropped.parquet")}
    assert details == {
        "chosen and rejected are equal",
        "chosen: turn 1 is `Assistant:`, not `Human:`",
        "the answers lie behind the first 512 tokens",
        "the answers do not differ within 512 tokens",
    }


def test_kto_counts_every_row(tiny: ModelDir, tmp_path: Path) -> None:
    pairs = preferences(0, 4)
    same: Row = {**pairs[0], "rejected": pairs[0]["chosen"]}
    asks_long: Row = {"prompt": [{"role": "user", "content": LONG}], "completion": "b", "label": True}
    empty: Row = {"prompt": [{"role": "user", "content": "a"}], "completion": " ", "label": False}
    long: Row = {"prompt": [{"role": "user", "content": "Count."}], "completion": LONG, "label": False}
    turns: Row = {"prompt": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "a"}]}
    system: Row = {**turns, "completion": "b", "label": True}
    spoken: Row = {**instructions(0, 1)[0], "label": False}
    rows = [same, *pairs, asks_long, empty, long, system, spoken]
    trained = train(replace(tiny_kto(), heldout=None), tiny, rows, None, tmp_path / "kto")
    figures = trained.metrics
    assert {n: figures[n] for n in figures if "rows" in n or "dropped" in n or "answers" in n} == {
        "rows_used": 7,
        "rows_dropped": 3,
        "dropped_same_answers": 1,
        "dropped_prompt_too_long": 1,
        "dropped_empty_answer": 1,
        "answers_desirable": 5,
        "answers_undesirable": 6,
        "rows_truncated": 1,
    }
    dropped = list(read_parquet(trained.out / "dropped.parquet"))
    assert [row["drop_reason"] for row in dropped] == ["same_answers", "prompt_too_long", "empty_answer"]


def test_kto_learns_the_same_text_as_sft_s_rows(tiny: ModelDir, tmp_path: Path) -> None:
    """One conversation in four shapes is one text, and is as likely."""
    asked, answer = "Say a word.", "Tea."
    plain: Row = {"prompt": asked, "completion": answer, "label": True}
    rows: list[Row] = [
        {"prompt": [{"role": "user", "content": asked}], "completion": answer, "label": True},
        {"instruction": asked, "response": answer, "label": True},
        {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}], "label": True},
    ]
    trained = train(tiny_kto(), tiny, preferences(0, 4), rows, tmp_path / "kto")
    (before,) = set(trained.heldout("before"))
    alone = train(tiny_kto(), tiny, preferences(0, 4), [plain], tmp_path / "plain")
    assert alone.heldout("before") == pytest.approx([before], abs=1e-4)
    assert "heldout_margin_after" not in trained.metrics, "there is nothing undesirable to be set against"


@pytest.mark.parametrize("batch", [2, 3, 4])
def test_each_answer_s_neighbour_in_kto_is_another_of_its_batch(
    tiny: ModelDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    seen: list[list[dict[str, list[int]]]] = []
    original = Trainer.train

    def spied(self: Trainer) -> object:
        seen.append(list(self.train_dataset))
        return original(self)

    monkeypatch.setattr(Trainer, "train", spied)
    rows: list[Row] = [{"prompt": f"Say {n}.", "completion": f"{n}!", "label": n < 4} for n in range(7)]
    train(replace(tiny_kto(), batch_size=batch, max_steps=2), tiny, rows, None, tmp_path / "kto")
    (learned,) = seen
    answers = [row["completion_ids"] for row in learned]
    assert len({tuple(answer) for answer in answers}) == 7
    assert answers != sorted(answers, key=str), "the rows are in their own order"
    for first in range(0, 7, batch):
        others = [row["KL_completion_ids"] for row in learned[first : first + batch]]
        own = answers[first : first + batch]
        assert all(other != answer for other, answer in zip(others, own, strict=True))
        assert sorted(others) == sorted(own) or len(own) == 1


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "a", "completion": "b"}, "row has neither `chosen` and `rejected` nor a `label`"),
        ({"prompt": "a", "completion": "b", "label": "good"}, "nor a `label` of true or false"),
        ({"prompt": 1, "completion": "b", "label": True}, "a message has no `role`"),
        ({"text": "a", "label": True}, "row is no conversation: it has the columns `text`, `label`"),
    ],
)
def test_rows_that_kto_cannot_read_are_an_error_with_their_place(
    tiny: ModelDir, tmp_path: Path, row: Row, message: str
) -> None:
    with pytest.raises(DataError, match=message) as raised:
        train(tiny_kto(), tiny, [row], None, tmp_path / "kto")
    assert raised.value.where == "rows:1"


def test_kto_s_faults_are_found_before_any_work() -> None:
    with pytest.raises(ValueError, match="`batch_size` is 2 or more"):
        replace(tiny_kto(), batch_size=1)
    with pytest.raises(ValueError, match="`quantise` is for adapters"):
        replace(tiny_kto(), tune="full")


def test_an_answer_behind_the_length_is_dropped_where_it_alone_is_learned(tiny: ModelDir, tmp_path: Path) -> None:
    long: Row = {"instruction": LONG, "response": "b"}
    stage = replace(tiny_sft(), loss="completion")
    figures = train(stage, tiny, [*instructions(0, 8), long], None, tmp_path / "completion").metrics
    assert figures["dropped_prompt_too_long"] == 1
    figures = train(tiny_sft(), tiny, [*instructions(0, 8), long], None, tmp_path / "full").metrics
    assert (figures["rows_dropped"], figures["rows_truncated"]) == (0, 1)


def test_what_is_learned_is_what_is_measured(tiny: ModelDir, tmp_path: Path) -> None:
    rows = instructions(0, 8)
    full = train(tiny_sft(), tiny, rows, rows, tmp_path / "full")
    answer = train(replace(tiny_sft(), loss="completion"), tiny, rows, rows, tmp_path / "completion")
    tokenizer, form = tokenizer_of(tiny), get_format("openbezoar")
    for number, row in enumerate(rows):
        turns = [Message("user", str(row["instruction"])), Message("assistant", str(row["response"]))]
        encoded = encode(form, turns, tokenizer)
        assert full.heldout("tokens")[number] == len(encoded.ids) - 1
        assert answer.heldout("tokens")[number] == sum(encoded.assistant)


def test_the_best_weights_on_the_rows_held_back_are_kept(tiny: ModelDir, tmp_path: Path) -> None:
    """At a rate that destroys what was learned, the weights of an earlier step are the better."""
    stage = replace(tiny_sft(learning_rate=0.3), validate_every=1, epochs=6)
    trained = train(stage, tiny, instructions(0, 10), None, tmp_path / "sft")
    last = train(replace(stage, validation_share=0.0), tiny, instructions(0, 10), None, tmp_path / "last")
    found = [figures["validation_loss"] for _, _, figures in trained.logged if "validation_loss" in figures]
    assert trained.metrics["validation_loss"] == min(found) < found[-1]
    assert trained.metrics["best_step"] == found.index(min(found)) + 1
    assert (
        digests(trained.out)["adapter/adapter_model.safetensors"]
        != digests(last.out)["adapter/adapter_model.safetensors"]
    )
    assert "best_step" not in last.metrics


@pytest.mark.parametrize(
    ("stage", "rows", "message"),
    [
        (tiny_sft(), [{"instruction": "", "response": "b"}] * 2, "no row of `rows` can be used: 2 empty_prompt"),
        (tiny_kto(), [{"prompt": "", "completion": "b", "label": True}], "no row of `rows` can be used: 1 empty_turn"),
        (tiny_dpo(), [{"chosen": "", "rejected": ""}], "no row of `rows` can be used: 1 not_a_transcript"),
        (replace(tiny_sft(), validation_share=1.0), instructions(0, 2), "`validation_share: 1` leaves no row to learn"),
        (replace(tiny_sft(), lora_targets=("q_prj",)), instructions(0, 6), "the model has no linear layer `q_prj`"),
        (replace(tiny_dpo(), lora_targets=("lm_head",)), preferences(0, 4), "`lm_head` cannot be trained"),
    ],
)
def test_what_cannot_be_trained_is_refused(
    tiny: ModelDir, tmp_path: Path, stage: object, rows: list[Row], message: str
) -> None:
    with pytest.raises(StepFailed, match=message):
        train(stage, tiny, rows, None, tmp_path / "stage")  # type: ignore[arg-type] # both kinds of stage


def test_more_cut_rows_than_are_borne_are_an_error_that_says_what_would_do(tiny: ModelDir, tmp_path: Path) -> None:
    rows = [*instructions(0, 8), *([{"instruction": "Count.", "response": LONG}] * 2)]
    assert train(replace(tiny_sft(), max_truncated=0.2), tiny, rows, None, tmp_path / "borne").metrics
    with pytest.raises(StepFailed) as raised:
        train(replace(tiny_sft(), max_truncated=0.19), tiny, rows, None, tmp_path / "not")
    lengths = "2 of 10 rows of `rows` are longer than `max_length: 256` tokens, and `max_truncated` bears 19%"
    assert raised.value.message == lengths
    assert raised.value.tip.startswith("19 of 20 have at most ")


def test_fewer_rows_than_a_batch_are_refused(tiny: ModelDir, tmp_path: Path) -> None:
    stage = replace(tiny_sft(), gradient_accumulation=2)
    wanted = r"7 rows to learn are fewer than one batch of 8 \(`batch_size` 4 times `gradient_accumulation` 2\)"
    with pytest.raises(StepFailed, match=wanted):
        train(stage, tiny, instructions(0, 8), None, tmp_path / "fewer")
    train(stage, tiny, instructions(0, 10), None, tmp_path / "enough")


def test_a_row_without_its_columns_is_an_error_with_its_place(tiny: ModelDir, tmp_path: Path) -> None:
    rows: list[Row] = [*instructions(0, 8), {"instruction": "Say something.", "answer": "b"}]
    with pytest.raises(DataError, match="rows:9: row is no conversation: it has the columns") as raised:
        train(tiny_sft(), tiny, rows, None, tmp_path / "sft")
    assert "`instruction` and `response`" in raised.value.tip


def test_fp16_on_a_cpu_is_refused(tiny: ModelDir, tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match="`precision: float16` needs a GPU, and none is visible"):
        train(replace(tiny_sft(), precision="float16"), tiny, instructions(0, 8), None, tmp_path / "sft")


def test_bf16_on_a_cpu_is_done(tiny: ModelDir, tmp_path: Path) -> None:
    rows = instructions(0, 10)
    stage = replace(tiny_sft(), quantise=None)
    rounded = train(replace(stage, precision="bfloat16"), tiny, rows, rows, tmp_path / "bf16").metrics
    exact = train(stage, tiny, rows, rows, tmp_path / "fp32").metrics
    assert rounded["heldout_loss_after"] != exact["heldout_loss_after"]
    assert rounded["heldout_loss_after"] == pytest.approx(exact["heldout_loss_after"], rel=0.02)


def test_before_and_after_are_measured_alike_whatever_it_trained_in(tiny: ModelDir, tmp_path: Path) -> None:
    """A trainer leaves its bf16 products around the model: weights that did not move would seem to have."""
    rows = instructions(0, 10)
    stage = replace(tiny_sft(0.0), quantise=None, tune="full", precision="bfloat16", max_steps=2)
    still = train(stage, tiny, rows, rows, tmp_path)
    assert still.heldout("loss_before") == still.heldout("loss_after") == still.heldout("loss_merged")


def test_quantised_weights_cannot_all_be_trained() -> None:
    with pytest.raises(ValueError, match="`tune: full` cannot train quantised weights"):
        replace(tiny_sft(), tune="full")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: [path.unlink() for path in folder.glob("tokenizer*")], "the model has no tokenizer that can"),
        (lambda folder: _without_eos(folder), "the tokenizer has no EOS: no model would learn to stop"),
    ],
)
def test_a_base_whose_tokenizer_does_not_do_is_refused(
    tiny: ModelDir, tmp_path: Path, change: Callable[[Path], object], message: str
) -> None:
    folder = tmp_path / "base"
    shutil.copytree(tiny.path, folder)
    change(folder)
    with pytest.raises(StepFailed, match=message) as raised:
        train(tiny_sft(), replace(tiny, path=folder, base=folder), instructions(0, 8), None, tmp_path / "sft")
    assert raised.value.where == str(folder)


def _without_eos(folder: Path) -> None:
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**settings, "eos_token": None}), encoding="utf-8")
    (folder / "special_tokens_map.json").unlink(missing_ok=True)


def test_an_adapter_of_another_model_is_found_before_the_first_step(tiny: ModelDir, tmp_path: Path) -> None:
    first = train(tiny_sft(), tiny, instructions(0, 8), None, tmp_path / "first").model
    keys = json.loads((EXAMPLES / "tiny" / "config.json").read_text(encoding="utf-8"))
    config = tmp_path / "config.json"
    config.write_text(json.dumps({**keys, "hidden_size": 2 * keys["hidden_size"]}), encoding="utf-8")
    (tmp_path / "tokenizer.txt").write_bytes((EXAMPLES / "tiny" / "tokenizer.txt").read_bytes())
    from_random(config, tmp_path / "other")
    with pytest.raises(StepFailed, match=r"the adapter of `first` does not fit `.*other`: it takes .* wide") as raised:
        train(tiny_sft(), replace(first, base=tmp_path / "other"), instructions(0, 8), None, tmp_path / "second")
    assert raised.value.tip == "it was made on another model: train that step again"
    assert not (tmp_path / "second" / "work" / "checkpoint-12").exists()


def test_a_misspelt_target_is_told_the_nearest(tiny: ModelDir, tmp_path: Path) -> None:
    with pytest.raises(BezoarError) as raised:
        train(replace(tiny_sft(), lora_targets=("q_prj",)), tiny, instructions(0, 6), None, tmp_path / "sft")
    assert raised.value.tip == "did you mean `q_proj`?"


def test_preferences_that_are_no_transcripts_are_an_error_with_their_place(tiny: ModelDir, tmp_path: Path) -> None:
    rows: list[Row] = [*preferences(0, 1), {"chosen": None, "rejected": "b"}]
    with pytest.raises(DataError, match="rows:2: `chosen` and `rejected` are not both transcripts"):
        train(tiny_dpo(), tiny, rows, None, tmp_path / "dpo")


def test_several_gpus_in_one_process_are_refused(
    tiny: ModelDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    with pytest.raises(StepFailed, match="one process sees 2 GPUs, and trains on one"):
        train(tiny_sft(), tiny, instructions(0, 4), None, tmp_path / "sft")


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        (tiny_dpo(), r"of \d+ pairs of `rows` are longer than `max_length: 150` tokens, and `max_truncated` bears 50%"),
        (tiny_kto(), r"of \d+ answers of `rows` are longer than `max_length: 150` tokens"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_preferences_that_are_cut_are_borne_up_to_a_share(
    tiny: ModelDir, tmp_path: Path, stage: Dpo | Kto, message: str
) -> None:
    stage = replace(stage, max_length=150)
    with pytest.raises(StepFailed, match=message) as error:
        train(stage, tiny, preferences(0, 10), None, tmp_path / "few")
    assert re.search(r"19 of 20 have at most \d+ tokens: raise `max_length`", error.value.tip)
    made = train(replace(stage, max_truncated=1.0), tiny, preferences(0, 10), None, tmp_path / "all").metrics
    assert 5 < made["rows_truncated"] <= made["rows_used"] <= made["tokens_truncated"]


def test_what_another_format_does_to_the_one_before_is_measured_in_both(tiny: ModelDir, tmp_path: Path) -> None:
    stage = replace(tiny_sft(), format="hh")
    rows, unseen = preferences(0, 10), preferences(10, 24)
    made = train(stage, tiny, rows, unseen, tmp_path / "hh").metrics
    same = train(replace(stage, format=None), tiny, rows, unseen, tmp_path / "same").metrics
    assert made["heldout_loss_in_former_format_before"] == pytest.approx(same["heldout_loss_before"], abs=1e-9)
    assert made["heldout_loss_in_former_format_after"] != pytest.approx(made["heldout_loss_after"], abs=1e-4)
    assert not any("former" in name for name in same)
