"""FastChat's conversation templates by name (`fastchat:vicuna_v1.1`), for models that others trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from bezoar_core.errors import BezoarError, nearest
from bezoar_core.prompt_format.segments import Segment, turns
from bezoar_core.records import Message

PREFIX = "fastchat:"
_SYSTEM, _USER, _ANSWER = "\ue000system\ue001", "\ue000user\ue001", "\ue000answer\ue001"
_TIP = "name another prompt format with `format:` (`chat` is the model's own)"


class _Conversation(Protocol):
    roles: Sequence[str]
    stop_str: str | list[str] | None

    def copy(self) -> _Conversation: ...

    def set_system_message(self, system_message: str) -> None: ...

    def append_message(self, role: str, message: str | None) -> None: ...

    def get_prompt(self) -> str: ...


@dataclass(frozen=True)
class FastChatFormat:
    """A template of `fastchat.conversation`: the joined segments are what its `get_prompt()` gives.

    A reply ends at the template's `stop_str`, or at what it writes after an answer; FastChat's token ids for the same
    are of one model only, and not used. As FastChat does, a tokenizer's BOS comes first, and no EOS is added.
    """

    name: str
    conversation: _Conversation
    opening: str
    stops: tuple[str, ...]
    closed: bool = True
    bos: bool = True

    def segments(self, messages: Sequence[Message]) -> tuple[Segment, ...]:
        """Return a prompt segment and an assistant segment a turn; raise where the template alters what it is given."""
        return _split(self.name, self.conversation, messages)

    def template(self) -> str:
        """Raise: a template that is a program of FastChat's has no Jinja form to package."""
        raise BezoarError(f"`{self.name}` is for prompting only: no chat template can be packaged from it", tip=_TIP)


def fastchat_format(name: str) -> FastChatFormat:
    """Return the format `fastchat:<template>`; raise where there is no such template, or one that cannot be split."""
    conversation = _found(name)
    texts = (Message("user", _USER), Message("assistant", _ANSWER), Message("user", _USER))
    segments = _split(name, conversation, texts)
    opening, _, closing = segments[1].text.partition(_ANSWER)
    own = conversation.stop_str or ()
    stops = [*([own] if isinstance(own, str) else own), closing.strip()]
    return FastChatFormat(name, conversation, opening, tuple(dict.fromkeys(stop for stop in stops if stop)))


def _found(name: str) -> _Conversation:
    try:
        from fastchat.conversation import conv_templates
    except ImportError:
        tip = "pip install 'bezoar[eval]'"
        raise BezoarError(f"prompt format `{name}` needs `fastchat`, which is not installed", tip=tip) from None
    template = conv_templates.get(name.removeprefix(PREFIX))
    if template is None:
        near = nearest(name, [PREFIX + known for known in conv_templates])
        raise BezoarError(f"unknown prompt format `{name}`: FastChat has no such template", tip=near)
    return cast("_Conversation", template)


def _split(name: str, conversation: _Conversation, messages: Sequence[Message]) -> tuple[Segment, ...]:
    """Cut what the template renders where answers begin and end, by rendering the conversation turn by turn."""
    given, pairs = turns(messages)
    system = _has_system(name, conversation) if given else False
    whole = conversation.copy()
    if system:
        whole.set_system_message(given)
    made: list[Segment] = []
    done = ""
    for user, answer in pairs:
        whole.append_message(whole.roles[0], user)
        asked = whole.copy()
        asked.append_message(asked.roles[1], None)
        before = _rendered(name, asked)
        if not before.startswith(done) or user not in before[len(done) :]:
            raise _refused(name)
        made.append(Segment(before[len(done) :], False))
        done = before
        if answer is not None:
            whole.append_message(whole.roles[1], answer)
            after = _rendered(name, whole)
            if not after.startswith(before) or answer not in after[len(before) :]:
                raise _refused(name)
            made.append(Segment(after[len(before) :], True))
            done = after
    return tuple(made)


def _has_system(name: str, conversation: _Conversation) -> bool:
    probe = conversation.copy()
    probe.set_system_message(_SYSTEM)
    probe.append_message(probe.roles[0], _USER)
    if _SYSTEM not in _rendered(name, probe):
        raise BezoarError(f"prompt format `{name}` has no place for a system message", tip="leave it out")
    return True


def _rendered(name: str, conversation: _Conversation) -> str:
    try:
        return conversation.get_prompt()
    except ValueError:  # the templates of APIs have no text
        raise BezoarError(f"prompt format `{name}` has no text: it stands for an API", tip=_TIP) from None


def _refused(name: str) -> BezoarError:
    return BezoarError(
        f"prompt format `{name}` cannot be cut into prompt and answer: it alters a turn, or renders it differently "
        "when others follow",
        tip=_TIP,
    )
