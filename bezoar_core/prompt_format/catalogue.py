"""The formats by name."""

from __future__ import annotations

from bezoar_core.errors import BezoarError, nearest
from bezoar_core.prompt_format.chat import chat_format
from bezoar_core.prompt_format.encoding import Tokenizer
from bezoar_core.prompt_format.fastchat import PREFIX, fastchat_format
from bezoar_core.prompt_format.segments import PromptFormat
from bezoar_core.prompt_format.written import WRITTEN

FORMATS: tuple[str, ...] = ("chat", *(format.name for format in WRITTEN))


def get_format(name: str, tokenizer: Tokenizer | None = None) -> PromptFormat:
    """Return the prompt format `name`; `chat` is read from `tokenizer`, `fastchat:<template>` from FastChat."""
    if name.startswith(PREFIX):
        return fastchat_format(name)
    if name == "chat":
        if tokenizer is None:
            raise BezoarError(
                "prompt format `chat` is read from a model's tokenizer, and this model has none here",
                tip="name a written format: " + ", ".join(f"`{format.name}`" for format in WRITTEN),
            )
        return chat_format(tokenizer)
    for format in WRITTEN:
        if format.name == name:
            return format
    raise _unknown(name)


def check_format(name: str) -> None:
    """Raise `BezoarError` for a name that no prompt format has."""
    if name.startswith(PREFIX):
        fastchat_format(name)
    elif name not in FORMATS:
        raise _unknown(name)


def _unknown(name: str) -> BezoarError:
    return BezoarError(f"unknown prompt format `{name}`", tip=nearest(name, FORMATS))
