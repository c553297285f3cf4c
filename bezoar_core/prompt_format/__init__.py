"""From messages to the very token ids, one way for training, generation and export.

A format renders a conversation to segments, cut only where an assistant turn begins or ends, and each segment is
tokenised by itself: a tokenizer may merge the end of a prompt with the first character of an answer, so text that was
tokenised as a whole in training would not be what generation sees.
"""

from __future__ import annotations

from bezoar_core.prompt_format.catalogue import FORMATS, check_format, get_format
from bezoar_core.prompt_format.encoding import Encoded, Tokenizer, encode, packaged_template, render
from bezoar_core.prompt_format.fastchat import PREFIX as FASTCHAT
from bezoar_core.prompt_format.segments import PromptFormat, Segment
from bezoar_core.prompt_format.written import DEFAULT_SYSTEM

__all__ = [
    "DEFAULT_SYSTEM",
    "FASTCHAT",
    "FORMATS",
    "Encoded",
    "PromptFormat",
    "Segment",
    "Tokenizer",
    "check_format",
    "encode",
    "get_format",
    "packaged_template",
    "render",
]
