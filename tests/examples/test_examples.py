"""The example rows keep their promises, by definitions that share no code with what made or reads them."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
TASKS = EXAMPLES / "tasks"
CATEGORIES = {
    "brainstorming",
    "classification",
    "closed_qa",
    "creative_writing",
    "general_qa",
    "information_extraction",
    "open_qa",
    "summarization",
}
SEED_FILES = ("dolly.jsonl", "flan.jsonl", "hh.jsonl")
COLUMNS = {
    "dolly.jsonl": {"instruction", "context", "response", "category"},
    "flan.jsonl": {"inputs", "targets", "task_source", "task_name", "template_type"},
    "hh.jsonl": {"chosen", "rejected"},
    "golden.jsonl": {"instruction", "response", "label", "reason"},
}
STAGE_COLUMNS = {
    "lamini": {"stage", "instruction", "response"},
    "orca": {"stage", "system_message", "inputs", "explained_targets"},
    "evol": {"stage", "instruction", "response"},
    "hh": {"stage", "chosen", "rejected"},
}
# What counts against the cap of 1,024 tokens.
PROMPT_COLUMNS = {"dolly.jsonl": ("instruction", "context"), "flan.jsonl": ("inputs",), "hh.jsonl": ("chosen",)}

Row = dict[str, str]
Turn = tuple[str, str]


def read(name: str) -> list[Row]:
    text = (EXAMPLES / name).read_text(encoding="utf-8")
    assert text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def prompt(name: str, row: Row) -> str:
    return "\n\n".join(row[column] for column in PROMPT_COLUMNS[name])


def over_long(name: str, row: Row) -> bool:
    """1,500 words are more than 1,024 tokens for every tokenizer in use: none joins words."""
    return len(prompt(name, row).split()) > 1500


def turns(transcript: str) -> list[Turn]:
    """Split at each blank line that a speaker's name follows; the text between two names is the turn."""
    parts = re.split(r"\n\n(Human|Assistant):", transcript)
    assert parts[0] == ""
    return list(zip(parts[1::2], (part.strip() for part in parts[2::2]), strict=True))


def well_formed(transcript: str) -> bool:
    spoken = turns(transcript)
    speakers = [speaker for speaker, _ in spoken]
    return speakers == ["Human", "Assistant"] * (len(spoken) // 2) and all(text for _, text in spoken)


def broken(name: str, row: Row) -> bool:
    if name == "hh.jsonl":
        return not (well_formed(row["chosen"]) and well_formed(row["rejected"]))
    needed = ("instruction", "response") if name == "dolly.jsonl" else ("inputs", "targets")
    return not all(row[column].strip() for column in needed)


def clean(name: str) -> list[Row]:
    return [row for row in read(name) if not broken(name, row) and not over_long(name, row)]


def squashed(text: str) -> str:
    """Return only the letters and digits, in lower case."""
    return "".join(re.findall(r"\w", text.lower()))


@pytest.mark.parametrize("name", COLUMNS)
def test_every_row_has_exactly_the_columns_of_its_schema(name: str) -> None:
    for row in read(name):
        assert set(row) == COLUMNS[name]
        assert all(isinstance(value, str) for value in row.values())


@pytest.mark.parametrize(("name", "count"), [("dolly.jsonl", 48), ("flan.jsonl", 52), ("hh.jsonl", 56)])
def test_three_rows_are_over_long_two_broken_and_the_others_clean(name: str, count: int) -> None:
    rows = read(name)
    assert sum(over_long(name, row) for row in rows) == 3
    assert sum(broken(name, row) for row in rows) == 2
    assert not any(over_long(name, row) and broken(name, row) for row in rows)
    assert len(clean(name)) == count


@pytest.mark.parametrize("name", SEED_FILES)
def test_clean_rows_are_below_the_cap_for_any_byte_level_tokenizer(name: str) -> None:
    assert max(len(prompt(name, row).encode()) for row in clean(name)) < 1024


@pytest.mark.parametrize("name", SEED_FILES)
def test_over_long_rows_repeat_no_sentence(name: str) -> None:
    for row in read(name):
        if over_long(name, row):
            sentences = [s for s in re.split(r"(?<=[.?!])\s+", prompt(name, row)) if len(s.split()) > 2]
            assert len(sentences) > 40
            assert [s for s, times in Counter(sentences).items() if times > 1] == []


def test_the_broken_rows_are_broken_in_two_ways() -> None:
    dolly = [row for row in read("dolly.jsonl") if broken("dolly.jsonl", row)]
    assert {(row["instruction"] == "", row["instruction"].isspace()) for row in dolly} == {(True, False), (False, True)}
    flan = [row for row in read("flan.jsonl") if broken("flan.jsonl", row)]
    assert {(row["inputs"] == "", row["inputs"].isspace()) for row in flan} == {(True, False), (False, True)}
    chosen = [turns(row["chosen"]) for row in read("hh.jsonl") if broken("hh.jsonl", row)]
    assert sorted([speaker for speaker, _ in spoken] for spoken in chosen) == [
        ["Human", "Assistant"],
        ["Human", "Human", "Assistant"],
    ]
    assert sorted(bool(spoken[-1][1]) for spoken in chosen) == [False, True]


def test_dolly_has_six_clean_rows_of_each_category() -> None:
    rows = clean("dolly.jsonl")
    assert Counter(row["category"] for row in rows) == dict.fromkeys(CATEGORIES, 6)
    grounded = {"closed_qa", "information_extraction", "summarization"}
    assert all(row["context"].strip() for row in rows if row["category"] in grounded)
    assert {row["category"] for row in rows if row["context"] and row["category"] not in grounded} >= {
        "brainstorming",
        "classification",
        "creative_writing",
    }


def test_flan_has_twelve_zero_shot_rows_of_each_sub_collection_and_some_few_shot_ones() -> None:
    rows = clean("flan.jsonl")
    zero_shot = [row for row in rows if row["template_type"].startswith("zs")]
    assert Counter(row["task_source"] for row in zero_shot) == {"CoT": 12, "NIv2": 12, "P3": 12, "Flan2021": 12}
    assert {row["template_type"] for row in rows} == {"zs_opt", "zs_noopt", "fs_opt"}
    assert len(rows) - len(zero_shot) == 4


def test_flan_options_stand_where_the_template_says_and_one_of_them_is_the_target() -> None:
    multiple_choice: Counter[str] = Counter()
    for row in clean("flan.jsonl"):
        assert ("OPTIONS:\n- " in row["inputs"]) == row["template_type"].endswith("_opt")
        if row["template_type"].endswith("_opt"):
            listed = row["inputs"].rpartition("OPTIONS:\n")[2].splitlines()
            options = [line.removeprefix("- ") for line in listed if line.startswith("- ")]
            assert len(options) >= 2
            concluded = row["targets"].rpartition("nswer is")[2].removeprefix(":").strip()
            right = [option for option in options if option.removesuffix(".") == concluded.removesuffix(".")]
            assert len(right) == 1, row
        multiple_choice[row["task_source"]] += row["template_type"] == "zs_opt"
    assert min(multiple_choice.values()) >= 3


def test_hh_pairs_share_everything_but_the_last_reply() -> None:
    for row in read("hh.jsonl"):
        if not broken("hh.jsonl", row):
            chosen, rejected = turns(row["chosen"]), turns(row["rejected"])
            assert chosen[:-1] == rejected[:-1]
            assert chosen[-1] != rejected[-1]


def test_hh_has_dialogues_of_several_turns() -> None:
    human = Counter(sum(speaker == "Human" for speaker, _ in turns(row["chosen"])) for row in clean("hh.jsonl"))
    assert human == {1: 40, 2: 14, 3: 2}


def test_hh_chosen_replies_are_fuller_than_rejected_ones() -> None:
    pairs = [(turns(row["chosen"])[-1][1], turns(row["rejected"])[-1][1]) for row in clean("hh.jsonl")]
    fuller = [len(chosen.split()) > len(rejected.split()) for chosen, rejected in pairs]
    assert sum(fuller) >= 0.9 * len(pairs)


def test_golden_rows_are_balanced_and_say_why() -> None:
    rows = read("golden.jsonl")
    assert Counter(row["label"] for row in rows) == {"accept": 20, "reject": 20}
    assert all(row["instruction"].strip() and row["response"].strip() for row in rows)
    reasons = [row["reason"] for row in rows]
    assert min(len(reason.split()) for reason in reasons) >= 4
    assert len(set(reasons)) == len(rows)


def test_heldout_has_24_short_clean_rows_for_each_stage() -> None:
    rows = read("heldout.jsonl")
    assert Counter(row["stage"] for row in rows) == dict.fromkeys(STAGE_COLUMNS, 24)
    for row in rows:
        assert set(row) == STAGE_COLUMNS[row["stage"]]
        assert all(value.strip() for column, value in row.items() if column != "system_message")
        assert sum(len(value.split()) for column, value in row.items() if column not in ("stage", "rejected")) <= 100
        if row["stage"] == "hh":
            assert well_formed(row["chosen"]) and well_formed(row["rejected"])
            chosen, rejected = turns(row["chosen"]), turns(row["rejected"])
            assert chosen[:-1] == rejected[:-1] and chosen[-1] != rejected[-1]
    assert any(row["stage"] == "orca" and row["system_message"] == "" for row in rows)


def questions(name: str) -> list[str]:
    """List what is asked in each row: the instruction, the inputs, or the dialogue up to its last reply."""
    asked = [row.get("instruction") or row.get("inputs") or row.get("chosen", "") for row in read(name)]
    return [squashed(text.rpartition("\n\nAssistant:")[0] or text) for text in asked if text.strip()]


def test_no_question_is_asked_twice_in_all_files() -> None:
    asked = [q for name in (*SEED_FILES, "golden.jsonl", "heldout.jsonl") for q in questions(name)]
    assert [question for question, times in Counter(asked).items() if times > 1] == []


def test_no_heldout_reply_is_a_seed_reply() -> None:
    seeds = {row["response"] for name in ("dolly.jsonl", "golden.jsonl") for row in read(name)}
    seeds |= {row["targets"] for row in read("flan.jsonl")}
    seeds |= {turns(row["chosen"])[-1][1] for row in read("hh.jsonl")}
    for row in read("heldout.jsonl"):
        reply = row.get("response") or row.get("explained_targets") or turns(row["chosen"])[-1][1]
        assert squashed(reply) not in {squashed(seed) for seed in seeds}


def test_topics_are_short_titles_without_repetition() -> None:
    header, *topics = (EXAMPLES / "topics.csv").read_text(encoding="utf-8").splitlines()
    assert header == "topic" and len(topics) == 480
    assert len({topic.lower() for topic in topics}) == len(topics)
    assert all(topic == topic.strip() and 1 <= len(topic.split()) <= 4 for topic in topics)
    assert not any(set(topic) & set(',"') for topic in topics)


# The two tasks: answers are found again from the text of the item alone.

KIND_OF = {
    word: kind
    for kind, words in {
        "animals": "badger camel donkey ferret giraffe hamster lizard monkey otter rabbit",
        "clothes": "apron blouse coat dress glove hat jacket scarf shirt sock",
        "drinks": "beer cider cocoa coffee juice lemonade milk tea water wine",
        "fruits": "apple apricot banana cherry grape lemon mango peach pear plum",
        "furniture": "armchair bed bench bookcase cupboard desk sofa stool table wardrobe",
        "instruments": "banjo cello clarinet flute guitar harp piano trumpet tuba violin",
        "tools": "axe chisel drill hammer pliers rake saw screwdriver shovel spanner",
        "vehicles": "ambulance bicycle bus ferry lorry scooter tractor train tram truck",
    }.items()
    for word in words.split()
}
RINGS = (
    "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
    "January February March April May June July August September October November December",
    "A B C D E F G H I J K L M N O P Q R S T U V W X Y Z",
)
COUNTED = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight")


@dataclass(frozen=True, kw_only=True)
class Choice:
    id: str
    family: str
    level: int
    question: str
    choices: list[str]
    answer: int


@dataclass(frozen=True, kw_only=True)
class Rule:
    id: str
    family: str
    level: int
    rule: str
    example_text: str
    example_target: str
    text: str
    target: str


def listed(question: str) -> list[str]:
    """Return the entries after the colon."""
    return question.partition(": ")[2].partition(". ")[0].rstrip("?").split(", ")


def by_kind(words: list[str]) -> Counter[str]:
    return Counter(KIND_OF[word] for word in words)


def solve_numbers(question: str) -> str:
    ordered = sorted(listed(question), key=float)
    return ordered[-1] if "largest" in question else ordered[0]


def solve_next_in_order(question: str) -> str:
    first, second, third = listed(question)
    ring = next(entries.split() for entries in RINGS if first in entries.split())
    gaps = {(ring.index(b) - ring.index(a)) % len(ring) for a, b in ((first, second), (second, third))}
    assert len(gaps) == 1
    return ring[(ring.index(third) + gaps.pop()) % len(ring)]


def solve_pattern(question: str) -> str:
    words = listed(question)
    period = next(p for p in range(1, len(words)) if all(words[i] == words[i - p] for i in range(p, len(words))))
    assert len(words) >= 2 * period
    return words[-period]


def solve_kind(question: str) -> str:
    words = [word for word in re.findall(r"[a-z]+", question) if word in KIND_OF]
    return by_kind(words).most_common(1)[0][0]


def solve_count(question: str) -> str:
    wanted = question.partition(":")[0].split()[-1]
    return COUNTED[by_kind(listed(question))[wanted]]


def solve_odd_one_out(question: str) -> str:
    words = listed(question)
    counts = by_kind(words)
    assert sorted(counts.values()) == [1, 3]
    if named := re.match(r"Three of these are (\w+):", question):
        assert counts[named[1]] == 3
    return next(word for word in words if counts[KIND_OF[word]] == 1)


SOLVERS: dict[str, Callable[[str], str]] = {
    "numbers": solve_numbers,
    "next_in_order": solve_next_in_order,
    "pattern": solve_pattern,
    "kind": solve_kind,
    "count": solve_count,
    "odd_one_out": solve_odd_one_out,
}


def follow(rule: str, text: str) -> str:
    """Do what the rule says, character by character where `make_tasks.py` works by words."""
    if rule == "Copy the text exactly.":
        return text
    if rule == "Write only the first word.":
        return text.partition(" ")[0]
    if rule == "Write only the last word.":
        return text.rpartition(" ")[2]
    if rule == "Write the text in capital letters.":
        return "".join(chr(ord(letter) - 32) if "a" <= letter <= "z" else letter for letter in text)
    if rule == "Put a comma after every word but the last.":
        return text.replace(" ", ", ")
    assert rule == "Write the words in reverse order."
    return re.sub(r"\S+", lambda word: word[0][::-1], text[::-1])


def choice_rows() -> list[Choice]:
    return [Choice(**json.loads(line)) for line in (TASKS / "sort_mc.jsonl").read_text(encoding="utf-8").splitlines()]


def rule_rows() -> list[Rule]:
    return [Rule(**json.loads(line)) for line in (TASKS / "copy_gen.jsonl").read_text(encoding="utf-8").splitlines()]


def test_each_task_has_five_items_a_level_in_six_families() -> None:
    for shape in (
        Counter((row.family, row.level) for row in choice_rows()),
        Counter((row.family, row.level) for row in rule_rows()),
    ):
        assert len(shape) == 24
        assert set(shape.values()) == {5}
        assert {level for _, level in shape} == {1, 2, 3, 4}


def test_the_items_of_a_task_differ() -> None:
    assert len({row.question for row in choice_rows()}) == 120
    assert len({(row.rule, row.text) for row in rule_rows()}) == 120
    assert len({row.id for row in choice_rows()} | {row.id for row in rule_rows()}) == 240


@pytest.mark.parametrize("family", SOLVERS)
def test_the_marked_choice_is_the_answer_that_the_question_has(family: str) -> None:
    rows = [row for row in choice_rows() if row.family == family]
    assert rows
    for row in rows:
        assert len(set(row.choices)) == 4
        assert row.choices[row.answer] == SOLVERS[family](row.question), row


def test_the_right_choice_stands_equally_often_in_each_place() -> None:
    assert set(Counter((row.family, row.answer) for row in choice_rows()).values()) == {5}


def test_targets_and_worked_examples_follow_their_rule() -> None:
    for row in rule_rows():
        assert row.target == follow(row.rule, row.text), row
        assert row.example_target == follow(row.rule, row.example_text), row
        assert not set(row.text.split()) & set(row.example_text.split())


def test_make_tasks_writes_the_same_bytes_again(tmp_path: Path) -> None:
    shutil.copy(TASKS / "make_tasks.py", tmp_path)
    subprocess.run([sys.executable, tmp_path / "make_tasks.py"], check=True, cwd="/")
    for name in ("sort_mc.jsonl", "copy_gen.jsonl"):
        assert (tmp_path / name).read_bytes() == (TASKS / name).read_bytes()


def test_lm_eval_finds_the_rows_from_any_folder(tmp_path: Path) -> None:
    script = f"""
from lm_eval.tasks import TaskManager
manager = TaskManager(include_path={str(TASKS)!r}, include_defaults=False)
names = ["bezoar_copy_gen", "bezoar_sort_mc"]
for name, task in sorted(manager.load(names)["tasks"].items()):
    doc = task.eval_docs[0]
    print(name, len(task.eval_docs), task.OUTPUT_TYPE, repr(task.doc_to_text(doc)), sorted(task.aggregation()))
"""
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")}
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    generate, choose = done.stdout.splitlines()
    assert generate.startswith("bezoar_copy_gen 120 generate_until 'Copy the text exactly.")
    assert generate.endswith("['exact_match']")
    assert choose.startswith("bezoar_sort_mc 120 multiple_choice 'Question: Which of these numbers")
    assert choose.endswith("['acc', 'acc_norm']")
