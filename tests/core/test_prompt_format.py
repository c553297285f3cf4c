from __future__ import annotations

from collections.abc import Sequence

import pytest
from local_models import TINY, local_model, sentencepiece_like, tokenizer_of
from transformers import PreTrainedTokenizerBase

from bezoar_core.errors import BezoarError
from bezoar_core.prompt_format import (
    DEFAULT_SYSTEM,
    FORMATS,
    Segment,
    encode,
    get_format,
    packaged_template,
    render,
)
from bezoar_core.records import Message

WRITTEN = [name for name in FORMATS if name != "chat"]


def talk(*texts: str, system: str | None = None) -> tuple[Message, ...]:
    opening = () if system is None else (Message("system", system),)
    return (*opening, *(Message("assistant" if n % 2 else "user", text) for n, text in enumerate(texts)))


CONVERSATIONS = {
    "question": talk("What is {this}?"),
    "system": talk("What?", system="Be {{ brief }}.\n"),
    "empty system": talk("What?", system=""),
    "answered": talk("Say it", "**It** %}"),
    "second question": talk("a", "\nb", "c 🙂"),
    "second answer": talk("a", '"b"', "c", "(d)", system="s"),
    "third answer": talk("a", "b", "c", "d", "e", "f "),
}


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return tokenizer_of(local_model(TINY))


def templated(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> tuple[str, list[int]]:
    """Return what transformers makes of the messages: the text and the ids."""
    turns = [{"role": m.role, "content": m.content} for m in messages]
    open_ = messages[-1].role == "user"
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=open_)
    ids = tokenizer.apply_chat_template(turns, add_generation_prompt=open_)["input_ids"]
    return str(text), list(ids)


@pytest.mark.parametrize("messages", CONVERSATIONS.values(), ids=CONVERSATIONS.keys())
@pytest.mark.parametrize("name", FORMATS)
def test_packaged_template_renders_the_text_of_the_segments(
    name: str, messages: tuple[Message, ...], tokenizer: PreTrainedTokenizerBase
) -> None:
    own = tokenizer.chat_template
    try:
        format = get_format(name, tokenizer)
        tokenizer.chat_template = packaged_template(format, tokenizer)
        text, ids = templated(tokenizer, messages)
    finally:
        tokenizer.chat_template = own
    assert text == render(format, messages, eos=tokenizer.eos_token)
    if sum(m.role == "assistant" for m in messages) == 0:
        assert ids == encode(format, messages, tokenizer).ids


@pytest.mark.parametrize("name", WRITTEN)
def test_prompt_ids_agree_for_a_tokenizer_that_adds_bos_and_marks_the_first_word(name: str) -> None:
    tokenizer = sentencepiece_like()
    format = get_format(name, tokenizer)
    tokenizer.chat_template = packaged_template(format, tokenizer)
    for messages in (CONVERSATIONS["question"], CONVERSATIONS["system"]):
        ids = encode(format, messages, tokenizer).ids
        assert ids == templated(tokenizer, messages)[1]
        assert ids.count(tokenizer.bos_token_id) == (0 if name == "falcon-h2o" else 1)


def test_openbezoar_repeats_instruction_and_response_after_one_system() -> None:
    assert get_format("openbezoar").segments(talk("Q1", "A1", "Q2", system="S")) == (
        Segment("### System:\nS\n\n### Instruction:\nQ1\n\n### Response:", False),
        Segment("A1", True),
        Segment("\n\n### Instruction:\nQ2\n\n### Response:", False),
    )


@pytest.mark.parametrize("messages", [talk("Q"), talk("Q", system="")])
def test_openbezoar_has_a_default_system_text(messages: tuple[Message, ...]) -> None:
    assert render(get_format("openbezoar"), messages).startswith(
        f"### System:\n{DEFAULT_SYSTEM}\n\n### Instruction:\nQ"
    )


def test_hh_is_the_released_transcript() -> None:
    text = "\n\nHuman: Q1\n\nAssistant: A1\n\nHuman: Q2\n\nAssistant:"
    assert render(get_format("hh"), talk("Q1", "A1", "Q2")) == text
    assert render(get_format("hh"), talk("Q1"), prefill="I am") == "\n\nHuman: Q1\n\nAssistant: I am"


def test_dialogue_puts_earlier_turns_into_the_context() -> None:
    prompt = "### System:\nS\n\n### Context:\nHuman: Q1\nAssistant: A1\nHuman: Q2\n\n### Response:"
    segments = get_format("openbezoar-dialogue").segments(talk("Q1", "A1", "Q2", "A2", system="S"))
    assert segments == (Segment(prompt, False), Segment("A2", True))


def test_falcon_h2o_writes_its_special_tokens() -> None:
    assert render(get_format("falcon-h2o"), talk("Q1", "A1", "Q2"), eos="unused") == (
        "<|prompt|>Q1<|endoftext|><|answer|>A1<|endoftext|><|prompt|>Q2<|endoftext|><|answer|>"
    )
    assert render(get_format("falcon-h2o"), talk("Q", system="S")).startswith("<|prompt|>S\n\nQ<|endoftext|>")


def test_chat_is_cut_where_answers_begin_and_end(tokenizer: PreTrainedTokenizerBase) -> None:
    format = get_format("chat", tokenizer)
    assert format.stops == ("<|im_end|>",)
    assert format.segments(talk("Q1", "A1", "Q2", "A2")) == (
        Segment("<|im_start|>user\nQ1<|im_end|>\n<|im_start|>assistant\n", False),
        Segment("A1<|im_end|>", True),
        Segment("\n<|im_start|>user\nQ2<|im_end|>\n<|im_start|>assistant\n", False),
        Segment("A2<|im_end|>", True),
        Segment("\n", False),
    )


def test_segments_are_tokenised_apart_and_end_with_eos(tokenizer: PreTrainedTokenizerBase) -> None:
    format = get_format("openbezoar")
    messages = talk("Q1", "A1", "Q2", "A2")
    encoded = encode(format, messages, tokenizer)
    expected: list[tuple[int, bool]] = []
    for segment in format.segments(messages):
        expected += [(i, segment.assistant) for i in tokenizer(segment.text, add_special_tokens=False)["input_ids"]]
        expected += [(tokenizer.eos_token_id, True)] * segment.assistant
    assert list(zip(encoded.ids, encoded.assistant, strict=True)) == expected
    assert sum(encoded.assistant) < len(encoded.ids)


def test_prefill_begins_the_answer_as_the_answer_would_begin(tokenizer: PreTrainedTokenizerBase) -> None:
    for name in ("openbezoar", "hh", "chat"):
        format = get_format(name, tokenizer)
        begun = encode(format, talk("Q"), tokenizer, prefill="Sure: ")
        whole = encode(format, talk("Q", "Sure: "), tokenizer)
        assert begun.ids == whole.ids[: len(begun.ids)]
        assert tokenizer.decode(begun.ids).endswith("Sure: ")
        assert begun.assistant == whole.assistant[: len(begun.ids)]


def test_prefill_after_an_answer_is_refused(tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(BezoarError, match="`prefill` begins an answer, but the conversation ends with one"):
        encode(get_format("openbezoar"), talk("Q", "A"), tokenizer, prefill="x")


@pytest.mark.parametrize(
    ("messages", "complaint"),
    [
        ((Message("user", "a"), Message("user", "b")), "message 2 is a `user` turn where a `assistant` turn belongs"),
        ((Message("system", "s"), Message("assistant", "b")), "message 2 is a `assistant` turn where a `user`"),
        ((Message("system", "s"),), "the conversation has no user turn"),
        ((), "the conversation has no user turn"),
    ],
)
def test_turns_that_do_not_alternate_are_refused(messages: tuple[Message, ...], complaint: str) -> None:
    with pytest.raises(BezoarError, match=complaint):
        get_format("openbezoar").segments(messages)


def test_chat_of_nothing_is_refused(tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(BezoarError, match="the conversation has no user turn"):
        get_format("chat", tokenizer).segments(())


def test_an_unknown_format_names_the_nearest() -> None:
    with pytest.raises(BezoarError, match=r"unknown prompt format `openbezor`\n  tip: did you mean `openbezoar`\?"):
        get_format("openbezor")


def test_chat_needs_a_tokenizer() -> None:
    with pytest.raises(BezoarError, match="prompt format `chat` is read from a model's tokenizer"):
        get_format("chat")


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        ("", "the tokenizer has no chat template"),
        ("{{ raise_exception('roles!') }}", "refuses the conversation: roles!"),
        ("{% for m in messages %}{{ m['content'] }}\n{% endfor %}", "ends an answer with no special token"),
        (
            "{% for m in messages %}{{ m['content'] | upper }}<|im_end|>{% endfor %}",
            "does not render an answer as it is",
        ),
        ("{{ 'x' * 200001 }}" + "{# #}" * 40001, "longer than 200000 characters"),
        (
            "{% for m in messages %}{{ m['content'] + '<|im_end|>' }}{% endfor %}"
            "{% if add_generation_prompt %}{{ 'think:' }}{% endif %}",
            "renders a turn differently when others follow it",
        ),
    ],
)
def test_a_chat_template_that_cannot_be_cut_is_refused_with_advice(template: str, complaint: str) -> None:
    tokenizer = tokenizer_of(local_model(TINY))
    tokenizer.chat_template = template
    with pytest.raises(BezoarError, match=complaint) as caught:
        get_format("chat", tokenizer)
    assert "name another prompt format with `format:`" in str(caught.value)


def test_a_chat_template_that_trims_answers_is_cut_all_the_same() -> None:
    tokenizer = tokenizer_of(local_model(TINY))
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['role'] + ':' + m['content'] | trim + '<|im_end|>' }}{% endfor %}"
    )
    tokenizer.chat_template += "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"
    segments = get_format("chat", tokenizer).segments(talk("Q", "\nA "))
    assert segments[1] == Segment("A<|im_end|>", True)


def test_a_tokenizer_without_eos_cannot_end_an_answer() -> None:
    tokenizer = tokenizer_of(local_model(TINY))
    tokenizer.eos_token = None
    with pytest.raises(BezoarError, match="the tokenizer has no EOS token"):
        encode(get_format("openbezoar"), talk("Q", "A"), tokenizer)
