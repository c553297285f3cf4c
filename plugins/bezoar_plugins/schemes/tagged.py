"""Texts between tags in a reply, whether it wrote both tags, continued a prefilled one or was stopped at the end."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from bezoar_core.records import Completion

_LIST_NUMBER = re.compile(r"\A\s*\d{1,3}[.)]\s+")


@dataclass(frozen=True)
class Tagged:
    """One text; `flaw` is None where it is whole, else `unclosed_tag` or `truncated`."""

    text: str
    flaw: str | None


def tagged(reply: Completion, tag: str, *, prefill: str, stop: Sequence[str]) -> list[Tagged]:
    """Return what stands between `<tag>` and `</tag>` in `prefill` and the reply, in order, without list numbers.

    A stop string ends the reply before the closing tag is written: so, where there are stop strings and the reply did
    not run out of tokens, the last text is whole without it.
    """
    _, *pieces = (prefill + reply.text).split(f"<{tag}>")
    found = []
    for number, piece in enumerate(pieces, start=1):
        text, closing, _ = piece.partition(f"</{tag}>")
        flaw = None
        if not closing:
            flaw = "unclosed_tag"
            if number == len(pieces) and reply.finish == "length":
                flaw = "truncated"
            elif number == len(pieces) and stop:
                flaw = None
        found.append(Tagged(_LIST_NUMBER.sub("", text).strip(), flaw))
    return found
