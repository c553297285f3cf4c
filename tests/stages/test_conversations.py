from __future__ import annotations

import pytest

from bezoar_core.errors import DataError
from bezoar_core.records import Message, Row
from bezoar_plugins.stages.conversations import conversation
from bezoar_plugins.stages.hh import Unusable

SYSTEM, USER, ANSWER = Message("system", "Be kind."), Message("user", "Hi"), Message("assistant", "\n**Yo**")


@pytest.mark.parametrize(
    ("row", "turns"),
    [
        ({"instruction": "Hi", "response": "\n**Yo**", "source": "lamini"}, (USER, ANSWER)),
        ({"instruction": "Hi", "response": "\n**Yo**", "system": "Be kind."}, (SYSTEM, USER, ANSWER)),
        ({"instruction": "Hi", "response": "\n**Yo**", "context": None, "system": None}, (USER, ANSWER)),
        (
            {"instruction": "Sum up.", "context": "A text.", "response": "b"},
            (Message("user", "Sum up.\n\nA text."), Message("assistant", "b")),
        ),
        ({"inputs": "Hi", "explained_targets": "\n**Yo**", "system_message": ""}, (USER, ANSWER)),
        (
            {"inputs": "Hi", "explained_targets": "\n**Yo**", "system_message": "Be kind.", "targets": "x"},
            (SYSTEM, USER, ANSWER),
        ),
        ({"chosen": "\n\nHuman: Hi\n\nAssistant: Yo", "rejected": "nothing"}, (USER, Message("assistant", "Yo"))),
        (
            {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "\n**Yo**"}]},
            (USER, ANSWER),
        ),
        # parquet gives every row every column: those of another scheme are None
        (
            {"messages": None, "instruction": None, "response": None, "inputs": "Hi", "explained_targets": "\n**Yo**"},
            (USER, ANSWER),
        ),
    ],
)
def test_each_scheme_s_rows_are_conversations(row: Row, turns: tuple[Message, ...]) -> None:
    assert conversation(row, "rows:1") == turns


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"instruction": " ", "response": "b"}, "empty_prompt"),
        ({"instruction": "", "context": "A text.", "response": "b"}, "empty_prompt"),
        ({"instruction": "a", "response": "\n"}, "empty_answer"),
        ({"inputs": "a", "explained_targets": ""}, "empty_answer"),
        ({"chosen": "Hello"}, "not_a_transcript"),
        ({"messages": [{"role": "user", "content": "a"}]}, "no_answer"),
        ({"messages": []}, "no_answer"),
        ({"messages": [{"role": "assistant", "content": "a"}]}, "turns_do_not_alternate"),
        ({"messages": [{"role": "user", "content": ""}, {"role": "assistant", "content": "a"}]}, "empty_turn"),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": ""}]}, "empty_answer"),
    ],
)
def test_a_row_that_says_nothing_is_set_aside_with_its_reason(row: Row, reason: str) -> None:
    found = conversation(row, "rows:1")
    assert isinstance(found, Unusable)
    assert found.reason == reason


def test_a_row_of_no_known_shape_is_an_error_with_its_place() -> None:
    with pytest.raises(
        DataError, match=r"rows:3: row is no conversation: it has the columns `question`, `answer`"
    ) as raised:
        conversation({"question": "a", "answer": "b"}, "rows:3")
    assert "`instruction` and `response`" in raised.value.tip


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"instruction": "a", "response": 3}, "column `response` is `int`, not text"),
        ({"messages": "a"}, "`messages` is no list"),
        (
            {"messages": [{"role": "human", "content": "a"}]},
            "a message has no `role` of `system`, `user` or `assistant`",
        ),
        ({"messages": ["a"]}, "a message has no `role`"),
    ],
)
def test_a_column_of_another_type_is_an_error_with_its_place(row: Row, message: str) -> None:
    with pytest.raises(DataError, match=f"rows:3: {message}"):
        conversation(row, "rows:3")
