from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from local_models import EXAMPLES
from stage_runs import instructions, preferences, tiny_dpo, tiny_sft, train
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from bezoar_core.errors import StepFailed
from bezoar_core.parquet import write_rows
from bezoar_core.prompt_format import get_format
from bezoar_core.records import ModelDir, Row, RowsDir
from bezoar_plugins.stages.tokenizer_check import require_same_tokens


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> ModelDir:
    """Return a folder with a SentencePiece model, trained here, and no tokenizer converted from it yet."""
    import sentencepiece

    made = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter((EXAMPLES / "tiny" / "tokenizer.txt").read_text(encoding="utf-8").splitlines()),
        model_writer=made,
        model_type="bpe",
        vocab_size=500,
        byte_fallback=True,
        split_digits=True,
        allow_whitespace_only_pieces=True,
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
        minloglevel=2,
    )
    folder = tmp_path_factory.mktemp("llama")
    (folder / "tokenizer.model").write_bytes(made.getvalue())
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "tokenizer_class": "LlamaTokenizer",
                "add_bos_token": True,
                "legacy": True,
                **{"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"},
            }
        )
    )
    return ModelDir(name="start", path=folder, format="openbezoar", content="start", base=folder)


@pytest.fixture
def right(start: ModelDir) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(start.path)


def rows_of(rows: list[Row], folder: Path) -> RowsDir:
    write_rows(folder / "rows.parquet", rows)
    return RowsDir(name="kept", path=folder / "rows.parquet", content="", count=len(rows))


def check(start: ModelDir, tokenizer: PreTrainedTokenizerBase, rows: RowsDir) -> None:
    require_same_tokens(start, tokenizer, get_format("openbezoar", tokenizer), rows)


@pytest.mark.parametrize("rows", [instructions(0, 12), preferences(0, 6)], ids=["conversations", "pairs"])
def test_a_tokenizer_converted_right_is_let_through(
    rows: list[Row], start: ModelDir, right: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    check(start, right, rows_of(rows, tmp_path))


def test_one_with_other_merges_is_stopped_with_the_rows_and_the_first_difference(
    start: ModelDir, right: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    rows = [{"instruction": "x", "response": "y"}, *instructions(0, 2), {"instruction": "z", "response": "y"}]
    changed = json.loads(right.backend_tokenizer.to_str())
    words = ["in", "on", "th"]  # pieces of `instruction` and of the format, which every row has
    changed["model"]["merges"] = [m for m in changed["model"]["merges"] if "".join(m) not in words]
    wrong = from_json(changed, right)
    with pytest.raises(StepFailed) as stopped:
        check(start, wrong, rows_of(rows, tmp_path))
    assert "4 of 4 rows of `kept`" in stopped.value.message
    assert "(rows 1, 2, 3, 4); in row 1, token " in stopped.value.message
    assert "and should be `" in stopped.value.message
    assert "remove its `tokenizer.json`" in stopped.value.tip


def test_rows_without_the_difference_are_not_named(
    start: ModelDir, right: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    changed = json.loads(right.backend_tokenizer.to_str())
    changed["normalizer"] = {"type": "Replace", "pattern": {"String": "é"}, "content": "e"}
    rows = [{"instruction": "Say cafe", "response": "y"}, {"instruction": "Say café", "response": "y"}]
    with pytest.raises(
        StepFailed, match=r"1 of 2 rows .* \(rows 2\); in row 2, token \d+ is `e` \(\d+\) and should be"
    ):
        check(start, from_json(changed, right), rows_of(rows, tmp_path))


def test_one_that_puts_no_bos_before_a_text_is_stopped(
    start: ModelDir, right: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    changed = json.loads(right.backend_tokenizer.to_str())
    changed["post_processor"] = None
    with pytest.raises(StepFailed, match=r"in row 1, token 1 is `.*` \(\d+\) and should be `<s>` \(1\)"):
        check(start, from_json(changed, right), rows_of(instructions(0, 2), tmp_path))


def test_where_there_is_no_sentencepiece_model_nothing_is_compared(
    start: ModelDir, right: PreTrainedTokenizerBase, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = rows_of(instructions(0, 2), tmp_path)
    wrong = from_json({**json.loads(right.backend_tokenizer.to_str()), "post_processor": None}, right)
    check(replace(start, base=tmp_path), wrong, rows)
    assert capsys.readouterr().out == ""
    (tmp_path / "tokenizer.model").write_text("IQ== 0\nIg== 1\n")  # tiktoken's, of the same name
    check(replace(start, base=tmp_path), wrong, rows)
    assert "is no SentencePiece model" in capsys.readouterr().out


def from_json(changed: object, like: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(changed)),
        bos_token=like.bos_token,
        eos_token=like.eos_token,
        unk_token=like.unk_token,
    )


@pytest.mark.parametrize("kind", ["sft", "dpo"])
def test_no_stage_trains_with_a_tokenizer_that_differs(
    kind: str, tiny: ModelDir, start: ModelDir, tmp_path: Path
) -> None:
    rows = instructions(0, 10) if kind == "sft" else preferences(0, 10)
    with pytest.raises(StepFailed, match="10 of 10 rows of `rows`"):
        train(tiny_sft() if kind == "sft" else tiny_dpo(), replace(tiny, base=start.path), rows, None, tmp_path / "run")
