"""FastChat's conversation templates as prompt formats, against FastChat's own `get_prompt()`."""

from __future__ import annotations

import sys

import pytest
from fastchat.conversation import conv_templates, get_conv_template
from local_models import TINY, local_model, sentencepiece_like, tokenizer_of

from bezoar_core.errors import BezoarError
from bezoar_core.prompt_format import Segment, check_format, encode, get_format, packaged_template, render
from bezoar_core.records import Message
from bezoar_core.testing import BezoarProject

TURNS = ("What is {this}?\n", "**It** %} \u00e9", "And\nthat?", "Nothing")


def talk(*texts: str, system: str = "") -> tuple[Message, ...]:
    opening = (Message("system", system),) if system else ()
    return (*opening, *(Message("assistant" if n % 2 else "user", text) for n, text in enumerate(texts)))


def theirs(name: str, texts: tuple[str, ...], system: str = "") -> str:
    """Return the prompt as FastChat's `gen_model_answer` builds it."""
    conversation = get_conv_template(name)
    if system:
        conversation.set_system_message(system)
    for number, text in enumerate(texts):
        conversation.append_message(conversation.roles[number % 2], text)
    if len(texts) % 2:
        conversation.append_message(conversation.roles[1], None)
    return str(conversation.get_prompt())


def splits(name: str) -> bool:
    try:
        get_format(f"fastchat:{name}")
    except BezoarError:
        return False
    return True


def test_nearly_every_template_can_be_cut() -> None:
    refused = {name for name in conv_templates if not splits(name)}
    assert len(conv_templates) > 80
    apis = {name for name in refused if conv_templates[name].sep_style is None}
    assert refused - apis == {"yuan2"}, "its text before an answer changes when the answer is there"
    assert "chatgpt" in apis


@pytest.mark.parametrize("length", [1, 2, 3, 4])
def test_prompts_equal_fastchats(length: int) -> None:
    names = [name for name in conv_templates if splits(name)]
    for name in names:
        format = get_format(f"fastchat:{name}")
        assert render(format, talk(*TURNS[:length]), eos="</unused>") == theirs(name, TURNS[:length]), name
    assert len(names) > 70


@pytest.mark.parametrize("name", ["vicuna_v1.1", "llama-2", "zero_shot", "mpt-7b-chat", "alpaca", "zephyr"])
def test_a_system_message_takes_the_templates_place(name: str) -> None:
    format = get_format(f"fastchat:{name}")
    rendered = render(format, talk(*TURNS[:3], system="Be {brief}."))
    assert rendered == theirs(name, TURNS[:3], "Be {brief}.") and "Be {brief}." in rendered
    assert "Be {brief}." not in render(format, talk("Q")), "the template itself is as it was"


def test_a_prompt_is_cut_where_the_answer_begins() -> None:
    format = get_format("fastchat:vicuna_v1.1")
    first, answer, second = format.segments(talk("Q1", "A1", "Q2"))
    assert first.text.endswith(" USER: Q1 ASSISTANT:") and not first.assistant
    assert (answer, second) == (Segment(" A1</s>", True), Segment("USER: Q2 ASSISTANT:", False))
    assert (format.opening, format.stops, format.closed) == (" ", ("</s>",), True)
    assert get_format("fastchat:zero_shot").stops == ("###",)
    assert get_format("fastchat:mpt-7b-chat").stops == ("<|im_end|>",)


def test_an_empty_answer_is_rendered_as_fastchat_renders_it() -> None:
    format = get_format("fastchat:vicuna_v1.1")
    assert render(format, talk("Q1", "", "Q2")) == theirs("vicuna_v1.1", ("Q1", "", "Q2"))


def test_bos_comes_first_and_no_eos_is_added() -> None:
    tokenizer = sentencepiece_like()
    format = get_format("fastchat:vicuna_v1.1")
    encoded = encode(format, talk("Q1", "A1", "Q2"), tokenizer)
    assert encoded.ids[0] == tokenizer.bos_token_id and encoded.ids.count(tokenizer.bos_token_id) == 1
    ends = [number for number, token in enumerate(encoded.ids) if token == tokenizer.eos_token_id]
    assert len(ends) == (1 if tokenizer.eos_token == "</s>" else 0)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fastchat:vicuna_v1.2", "(?s)unknown prompt format `fastchat:vicuna_v1.2`.*`fastchat:vicuna_v1.1`"),
        ("fastchat:yuan2", "`fastchat:yuan2` cannot be cut into prompt and answer"),
        ("fastchat:chatgpt", "`fastchat:chatgpt` has no text: it stands for an API"),
        ("fastchat:", "unknown prompt format `fastchat:`"),
    ],
)
def test_what_cannot_be_had_is_told(name: str, message: str) -> None:
    with pytest.raises(BezoarError, match=message):
        check_format(name)


def test_a_turn_that_a_template_alters_is_refused() -> None:
    format = get_format("fastchat:rwkv")
    assert render(format, talk("Q")) == theirs("rwkv", ("Q",))
    with pytest.raises(BezoarError, match="it alters a turn"):
        format.segments(talk("Two\n\nparagraphs"))


def test_a_system_message_without_a_place_is_refused() -> None:
    name = next(name for name, known in conv_templates.items() if "{system_message}" not in known.system_template)
    with pytest.raises(BezoarError, match="no place for a system message"):
        get_format(f"fastchat:{name}").segments(talk("Q", system="S"))


def test_it_is_not_packaged() -> None:
    with pytest.raises(BezoarError, match="for prompting only"):
        packaged_template(get_format("fastchat:vicuna_v1.1"), tokenizer_of(local_model(TINY)))


def test_without_fastchat_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fastchat.conversation", None)
    with pytest.raises(BezoarError, match=r"(?s)needs `fastchat`.*pip install .bezoar.eval"):
        check_format("fastchat:vicuna_v1.1")


REGISTRY = """bezoar: 1
name: project
models:
  foreign: {{source: "random:config.json", format: "fastchat:{template}"}}
  other: {{source: "random:config.json", format: hh}}
datasets:
  rows: {{source: file:rows.jsonl}}
steps:
  tuned: {{use: sft, model: foreign, data: rows}}
  retuned: {{use: sft, model: other, data: rows, format: openbezoar}}
"""


def test_check_names_templates_and_stages(bezoar_project: BezoarProject) -> None:
    bezoar_project.write("config.json", "{}")
    bezoar_project.rows("rows.jsonl", [{"instruction": "Say it", "response": "It"}])
    bezoar_project.write("registry.yaml", REGISTRY.format(template="vicuna_v1.2"))
    ended = bezoar_project.bezoar("check", "registry.yaml")
    assert ended.status == 2 and "4:" in ended.err and "did you mean `fastchat:vicuna_v1.1`" in ended.err
    assert "`tuned` would train in `fastchat:vicuna_v1.2`, which is for prompting only" in ended.err
    assert "`retuned`" not in ended.err
