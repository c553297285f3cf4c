"""Write `sort_mc.jsonl` and `copy_gen.jsonl`, the items of the two example benchmarks.

Run `python examples/tasks/make_tasks.py`. Each task has 6 families of 20 items, five at each of four levels of
difficulty. Every answer is computed here, none is typed; the same seed gives the same bytes.
"""

import json
import random
import string
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

SEED = 20240419
LEVELS = (1, 2, 3, 4)
ITEMS_A_LEVEL = 5

KINDS: dict[str, tuple[str, ...]] = {
    "animals": ("badger", "camel", "donkey", "ferret", "giraffe", "hamster", "lizard", "monkey", "otter", "rabbit"),
    "fruits": ("apple", "apricot", "banana", "cherry", "grape", "lemon", "mango", "peach", "pear", "plum"),
    "tools": ("axe", "chisel", "drill", "hammer", "pliers", "rake", "saw", "screwdriver", "shovel", "spanner"),
    "instruments": ("banjo", "cello", "clarinet", "flute", "guitar", "harp", "piano", "trumpet", "tuba", "violin"),
    "clothes": ("apron", "blouse", "coat", "dress", "glove", "hat", "jacket", "scarf", "shirt", "sock"),
    "vehicles": ("ambulance", "bicycle", "bus", "ferry", "lorry", "scooter", "tractor", "train", "tram", "truck"),
    "furniture": ("armchair", "bed", "bench", "bookcase", "cupboard", "desk", "sofa", "stool", "table", "wardrobe"),
    "drinks": ("beer", "cider", "cocoa", "coffee", "juice", "lemonade", "milk", "tea", "water", "wine"),
}
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight")


@dataclass(frozen=True, kw_only=True)
class Question:
    """Holds one multiple-choice question: its text, the right answer and three wrong ones."""

    text: str
    right: str
    wrong: tuple[str, str, str]


@dataclass(frozen=True, kw_only=True)
class Exercise:
    """Holds one rule, the text to apply it to, and the only reply that counts as right."""

    rule: str
    text: str
    target: str


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Is one row of `sort_mc.jsonl`; `answer` counts from 0 into `choices`."""

    id: str
    family: str
    level: int
    question: str
    choices: list[str]
    answer: int


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Is one row of `copy_gen.jsonl`: an exercise, and the same rule applied to other words as its worked example."""

    id: str
    family: str
    level: int
    rule: str
    example_text: str
    example_target: str
    text: str
    target: str


def three(values: list[str], rng: random.Random) -> tuple[str, str, str]:
    """Draw three different values."""
    first, second, third = rng.sample(values, 3)
    return first, second, third


def any_words(count: int, rng: random.Random) -> list[str]:
    """Draw `count` different words over all kinds."""
    return rng.sample(sorted(word for words in KINDS.values() for word in words), count)


def numbers(level: int, rng: random.Random) -> Question:
    """Ask for the largest (odd levels) or smallest of four numbers, which have decimals from level 3 on."""
    values = [str(n) for n in rng.sample(range(10, 100), 4)]
    if level > 2:
        # 7.9 against 7.25: more digits are not more
        whole = rng.randrange(2, 9)
        values = [f"{whole}.{n}" for n in (*rng.sample(range(3, 10), 2), *rng.sample(range(11, 30), 2))]
    rng.shuffle(values)
    wanted, pick = ("largest", max) if level % 2 else ("smallest", min)
    right = pick(values, key=float)
    return Question(
        text=f"Which of these numbers is the {wanted}: {', '.join(values)}?",
        right=right,
        wrong=three([value for value in values if value != right], rng),
    )


def next_in_order(level: int, rng: random.Random) -> Question:
    """Ask for the day, month or letter that follows three others: in steps of 1, -1, 2 and -2."""
    ring = rng.choice((DAYS, MONTHS, tuple(string.ascii_uppercase)))
    step = (1, -1, 2, -2)[level - 1]
    start = rng.randrange(len(ring))
    while len(ring) == 26 and not 0 <= start + 3 * step < 26:  # the alphabet does not begin anew after Z
        start = rng.randrange(len(ring))
    *shown, right = (ring[(start + step * place) % len(ring)] for place in range(4))
    wrong = three([entry for entry in ring if entry not in (*shown, right)], rng)
    return Question(text=f"What comes next: {', '.join(shown)}?", right=right, wrong=wrong)


def pattern(level: int, rng: random.Random) -> Question:
    """Ask for the next word of a pattern that repeats after 2, 3, 3 or 4 words, shown at least twice."""
    period = (2, 3, 3, 4)[level - 1]
    words = any_words(4, rng)
    length = 2 * period + rng.randrange(period)
    shown = ", ".join(words[place % period] for place in range(length))
    right = words[length % period]
    wrong = three([word for word in words if word != right], rng)
    return Question(text=f"Which word continues the pattern: {shown}?", right=right, wrong=wrong)


def kind(level: int, rng: random.Random) -> Question:
    """Ask of which kind 4, 3 or 2 words are, and at level 4 of which kind most of four words are."""
    right, other = rng.sample(sorted(KINDS), 2)
    words = rng.sample(KINDS[right], (4, 3, 2, 3)[level - 1])
    wrong = three([name for name in sorted(KINDS) if name not in (right, other)], rng)
    if level < 4:
        return Question(text=f"What are {', '.join(words[:-1])} and {words[-1]}?", right=right, wrong=wrong)
    words.append(rng.choice(KINDS[other]))
    rng.shuffle(words)
    return Question(text=f"What are most of these: {', '.join(words)}?", right=right, wrong=(other, *wrong[1:]))


def count(level: int, rng: random.Random) -> Question:
    """Ask how many words of a list of 3 to 6 are of a kind."""
    wanted, other = rng.sample(sorted(KINDS), 2)
    size = level + 2
    hits = rng.randrange(1, size)
    words = [*rng.sample(KINDS[wanted], hits), *rng.sample(KINDS[other], size - hits)]
    rng.shuffle(words)
    near = [NUMBER_WORDS[n] for n in range(max(0, hits - 2), hits + 3) if n != hits]
    return Question(
        text=f"How many of these words are {wanted}: {', '.join(words)}?",
        right=NUMBER_WORDS[hits],
        wrong=three(near, rng),
    )


def odd_one_out(level: int, rng: random.Random) -> Question:
    """Ask for the word of another kind; levels 1 and 2 name the kind of the others, levels 3 and 4 leave it out."""
    common, other = rng.sample(sorted(KINDS), 2)
    right = rng.choice(KINDS[other])
    wrong = three(list(KINDS[common]), rng)
    words = [right, *wrong]
    rng.shuffle(words)
    listed = ", ".join(words)
    named = f"Three of these are {common}: {listed}. Which one is not?"
    return Question(text=named if level < 3 else f"Which word is the odd one out: {listed}?", right=right, wrong=wrong)


def copy(level: int, words: list[str]) -> Exercise:
    """Ask for `level` words to be repeated as they are."""
    text = " ".join(words[:level])
    return Exercise(rule="Copy the text exactly.", text=text, target=text)


def first_word(level: int, words: list[str]) -> Exercise:
    """Ask for the first of 2 to 5 words."""
    return Exercise(rule="Write only the first word.", text=" ".join(words[: level + 1]), target=words[0])


def last_word(level: int, words: list[str]) -> Exercise:
    """Ask for the last of 2 to 5 words."""
    return Exercise(rule="Write only the last word.", text=" ".join(words[: level + 1]), target=words[level])


def capitals(level: int, words: list[str]) -> Exercise:
    """Ask for `level` words in capital letters."""
    text = " ".join(words[:level])
    return Exercise(rule="Write the text in capital letters.", text=text, target=text.upper())


def commas(level: int, words: list[str]) -> Exercise:
    """Ask for 2 to 5 words with commas between them."""
    rule = "Put a comma after every word but the last."
    return Exercise(rule=rule, text=" ".join(words[: level + 1]), target=", ".join(words[: level + 1]))


def reverse(level: int, words: list[str]) -> Exercise:
    """Ask for 2 to 5 words from the last to the first."""
    rule = "Write the words in reverse order."
    return Exercise(rule=rule, text=" ".join(words[: level + 1]), target=" ".join(words[level::-1]))


QUESTIONS: dict[str, Callable[[int, random.Random], Question]] = {
    "numbers": numbers,
    "next_in_order": next_in_order,
    "pattern": pattern,
    "kind": kind,
    "count": count,
    "odd_one_out": odd_one_out,
}
RULES: dict[str, Callable[[int, list[str]], Exercise]] = {
    "copy": copy,
    "first_word": first_word,
    "last_word": last_word,
    "capitals": capitals,
    "commas": commas,
    "reverse": reverse,
}


Item = TypeVar("Item", Choice, Rule)


def mixed(rows: list[Item]) -> list[Item]:
    """Order the rows so that the first of them hold every family and level: `limit` takes the first."""
    return sorted(rows, key=lambda row: (row.id.rpartition("-")[2], row.level))


def sort_mc(seed: int = SEED) -> list[Choice]:
    """Make the multiple-choice rows, each position being right equally often in every family."""
    rows: list[Choice] = []
    for family, ask in QUESTIONS.items():
        rng = random.Random(f"{seed} {family}")
        positions = [place % 4 for place in range(len(LEVELS) * ITEMS_A_LEVEL)]
        rng.shuffle(positions)
        seen: set[str] = set()
        for level in LEVELS:
            for number in range(1, ITEMS_A_LEVEL + 1):
                item = ask(level, rng)
                while item.text in seen:
                    item = ask(level, rng)
                seen.add(item.text)
                answer = positions.pop()
                choices = [*item.wrong[:answer], item.right, *item.wrong[answer:]]
                key = f"{family}-{level}-{number}"
                rows.append(
                    Choice(id=key, family=family, level=level, question=item.text, choices=choices, answer=answer)
                )
    return mixed(rows)


def copy_gen(seed: int = SEED) -> list[Rule]:
    """Make the rows of the rule-following task; an item and its worked example share no word."""
    rows: list[Rule] = []
    for family, apply in RULES.items():
        rng = random.Random(f"{seed} {family}")
        for level in LEVELS:
            for number in range(1, ITEMS_A_LEVEL + 1):
                words = any_words(10, rng)
                item, example = apply(level, words[:5]), apply(level, words[5:])
                rows.append(
                    Rule(
                        id=f"{family}-{level}-{number}",
                        family=family,
                        level=level,
                        rule=item.rule,
                        example_text=example.text,
                        example_target=example.target,
                        text=item.text,
                        target=item.target,
                    )
                )
    return mixed(rows)


def write(folder: Path) -> None:
    """Write both files into `folder`, one JSON object a line."""
    for name, rows in (("sort_mc.jsonl", sort_mc()), ("copy_gen.jsonl", copy_gen())):
        lines = (json.dumps(asdict(row), ensure_ascii=False) for row in rows)
        (folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


if __name__ == "__main__":
    write(Path(__file__).resolve().parent)
