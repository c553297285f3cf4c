from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest

from bezoar_core.plugins import load
from bezoar_core.records import Message
from bezoar_core.registry import read_registry
from bezoar_core.rows import read_rows
from bezoar_plugins.stages.hh import Pair, Unusable, pair, transcript

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"

OPENING = "\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: How are you?\n\nAssistant:"


def test_a_pair_is_split_at_the_last_answer() -> None:
    assert pair(f"{OPENING} Well, thanks.", f"{OPENING} None of your business.") == Pair(
        (Message("user", "Hi"), Message("assistant", "Hello."), Message("user", "How are you?")),
        "Well, thanks.",
        "None of your business.",
    )


def test_a_colon_or_a_name_inside_a_turn_is_no_turn() -> None:
    text = "\n\nHuman: Who said\nHuman: this?\n\nAssistant: Nobody. Assistant: is a mark, Human: too."
    assert transcript(text) == (
        Message("user", "Who said\nHuman: this?"),
        Message("assistant", "Nobody. Assistant: is a mark, Human: too."),
    )


@pytest.mark.parametrize(
    ("chosen", "rejected", "reason"),
    [
        ("Hello there", "\n\nHuman: a\n\nAssistant: b", "not_a_transcript"),
        ("", "\n\nHuman: a\n\nAssistant: b", "not_a_transcript"),
        ("\n\nAssistant: b", "\n\nHuman: a\n\nAssistant: b", "turns_do_not_alternate"),
        ("\n\nHuman: a\n\nHuman: a\n\nAssistant: b", "\n\nHuman: a\n\nAssistant: b", "turns_do_not_alternate"),
        ("\n\nHuman: a\n\nAssistant: b\n\nAssistant: c", "\n\nHuman: a\n\nAssistant: b", "turns_do_not_alternate"),
        ("\n\nHuman: a\n\nAssistant: b\n\nHuman: c", "\n\nHuman: a\n\nAssistant: b", "no_answer"),
        ("\n\nHuman:\n\nAssistant: b", "\n\nHuman:\n\nAssistant: c", "empty_turn"),
        ("\n\nHuman: a\n\nAssistant: ", "\n\nHuman: a\n\nAssistant: b", "empty_answer"),
        ("\n\nHuman: a\n\nAssistant: b", "\n\nHuman: a\n\nAssistant:\n", "empty_answer"),
        ("\n\nHuman: a\n\nAssistant: b", "\n\nHuman: A\n\nAssistant: c", "different_prompts"),
        (f"{OPENING} b", "\n\nHuman: Hi\n\nAssistant: c", "different_prompts"),
        ("\n\nHuman: a\n\nAssistant: b", "\n\nHuman: a\n\nAssistant: b", "same_answers"),
    ],
)
def test_what_cannot_be_trained_on_is_set_aside_with_its_reason(chosen: str, rejected: str, reason: str) -> None:
    found = pair(chosen, rejected)
    assert isinstance(found, Unusable)
    assert found.reason == reason


def test_the_detail_says_which_of_the_two_and_which_turn() -> None:
    found = pair("\n\nHuman: a\n\nAssistant: b", "\n\nHuman: a\n\nHuman: c\n\nAssistant: b")
    assert found == Unusable("turns_do_not_alternate", "rejected: turn 2 is `Human:`, not `Assistant:`")


def test_our_own_seeds_are_pairs_but_for_the_broken_ones() -> None:
    rows = [json.loads(line) for line in (EXAMPLES / "hh.jsonl").read_text(encoding="utf-8").splitlines()]
    found = [pair(row["chosen"], row["rejected"]) for row in rows]
    reasons = Counter(one.reason for one in found if isinstance(one, Unusable))
    assert sum(reasons.values()) == 2, reasons
    assert sum(isinstance(one, Pair) and len(one.prompt) > 1 for one in found) >= 6


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    """Return a folder as the Hub has HH-RLHF: a folder a subset, and one of red-teaming that holds no pairs."""
    folder = tmp_path / "mirror"
    subsets = ("harmless-base", "helpful-base", "helpful-online", "helpful-rejection-sampled")
    for name in subsets:
        for split, rows in (("train", 3), ("test", 1)):
            pairs = [
                {kind: f"\n\nHuman: {name} {split} {n}\n\nAssistant: {kind}" for kind in ("chosen", "rejected")}
                for n in range(rows)
            ]
            _pack(folder / name / f"{split}.jsonl.gz", pairs)
    _pack(folder / "red-team-attempts" / "red_team_attempts.jsonl.gz", [{"transcript": "\n\nHuman: a"}])
    (folder / "README.md").write_text("not meant for supervised training of dialogue agents", encoding="utf-8")
    return folder


def _pack(path: Path, rows: list[dict[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))


def test_a_registry_can_name_a_subset_of_hh_rlhf_and_a_slice(mirror: Path, tmp_path: Path) -> None:
    registry = tmp_path / "registry.yaml"
    registry.write_text(
        "bezoar: 1\nname: hh\n"
        f"models: {{base: {{source: 'random:{EXAMPLES}/tiny/config.json', format: hh}}}}\n"
        f"datasets: {{hh: {{source: 'file:{mirror}', subset: helpful-base, split: train, first: 2}}}}\n"
        "steps: {dpo: {use: dpo, model: base, data: hh}}\n",
        encoding="utf-8",
    )
    keys = read_registry(registry, load(disabled="")).datasets["hh"]
    rows = list(read_rows(mirror, name="hh", subset=keys.subset, split=keys.split, first=keys.first))
    read = [pair(str(row["chosen"]), str(row["rejected"])) for row in rows]
    assert [one.prompt[0].content for one in read if isinstance(one, Pair)] == [
        f"helpful-base train {n}" for n in (0, 1)
    ]


def test_the_paper_s_slice_goes_over_the_four_subsets_of_pairs(mirror: Path) -> None:
    keys = read_registry(ROOT / "registry.yaml", load(disabled=""), ("paper",)).datasets["hh"]
    assert keys.first == 100_000
    rows = list(read_rows(mirror, name="hh", files=keys.files))
    assert len(rows) == 12
    assert all(isinstance(pair(str(row["chosen"]), str(row["rejected"])), Pair) for row in rows)
