"""Prompts as text files beside the code: slots declared and documented at the top, filled in one strict pass.

A file opens with one line a slot, `#: name - what goes in`, then a blank line, then the text with `{{name}}` in it.
A text without slots opens with `#: no slots`.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files

_SLOT = re.compile(r"\{\{(\w+)\}\}")
_HEADER = re.compile(r"#: (\w+) - (.+)")


@dataclass(frozen=True)
class Prompt:
    """A prompt file: `path` is relative to `package`."""

    package: str
    path: str

    @cached_property
    def _parts(self) -> tuple[dict[str, str], str]:
        header, _, body = files(self.package).joinpath(self.path).read_text(encoding="utf-8").partition("\n\n")
        slots: dict[str, str] = {}
        for line in () if header == "#: no slots" else header.splitlines():
            match = _HEADER.fullmatch(line)
            if match is None:
                raise ValueError(f"{self.path}: `{line}` is not `#: slot - what goes in`")
            slots[match[1]] = match[2]
        used = set(_SLOT.findall(body))
        if used != set(slots):
            raise ValueError(f"{self.path}: slots declared {sorted(slots)}, used {sorted(used)}")
        return slots, body.rstrip("\n")

    @property
    def slots(self) -> dict[str, str]:
        """Return each slot's name and description."""
        return dict(self._parts[0])

    @property
    def text(self) -> str:
        """Return the prompt with its slots open."""
        return self._parts[1]

    @property
    def digest(self) -> str:
        """Return the sha256 of the text, which enters a fingerprint."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def fill(self, **slots: str) -> str:
        """Return the text with every slot filled; what fills a slot is never read as a template again."""
        if set(slots) != set(self._parts[0]):
            raise ValueError(f"{self.path}: wants {sorted(self._parts[0])}, was given {sorted(slots)}")
        return _SLOT.sub(lambda match: slots[match[1]], self.text)
