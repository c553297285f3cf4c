"""A judge's verdict in double brackets, read strictly: the last one that it says itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise

from bezoar_core.records import Completion, Refused, Scored, Unparsed, Verdict
from bezoar_core.types import Json

# A verdict stands free: `x[[1]]` is an index of a list, `[[1, 2], [3]]` a matrix, `[1]` a citation.
_VERDICT = re.compile(r"(?<![\w\[\])])\[\[([^\[\]\n]*)\]\](?!\])")
# `[[5]]/[[10]]`, `[[A]] or [[B]]`: two verdicts told as one are none.
_JOINT = re.compile(r"[ \t*_`]{0,8}(?:/|-|\u2013|,|or|to|and|of|out of)?[ \t*_`]{0,8}", re.IGNORECASE)

Read = Callable[[str, Iterable[str], Mapping[str, Json]], Scored | Unparsed]


def last_verdict(reply: str, form: re.Pattern[str], noun: str, quoted: Iterable[str] = ()) -> tuple[str, str]:
    """Return what the last `[[...]]` of a reply holds, and a complaint, empty where that is in order.

    `form` is what it must be, `noun` what that is called. A text of `quoted` that the reply repeats word for word does
    not count as the judge's own.
    """
    own = reply
    for text in quoted:
        if "[[" in text:
            own = own.replace(text.strip(), " ")
    verdicts = list(_VERDICT.finditer(own))
    if not verdicts:
        return "", f"no `[[{noun.partition(' ')[0]}]]`"
    last = verdicts[-1][1]
    if form.fullmatch(last) is None:
        return last, f"the last verdict, `{last[:40]}`, is no {noun}"
    if any(_joint(own, *pair) for pair in pairwise(verdicts[-2:])):
        return last, f"the last verdict is two {noun.partition(' ')[0]}s"
    return last, ""


def verdict_of(
    reply: Completion, prefill: str, read: Read, quoted: Iterable[str], asked: Mapping[str, Json]
) -> Verdict:
    """Return what a completion says by `read`, unless it was refused or cut off; `asked` is kept beside it."""
    data: dict[str, Json] = {**asked, "judge_model": reply.model}
    if reply.scores:
        data["scores"] = list(reply.scores)
    text = prefill + reply.text
    if reply.finish in ("refused", "filtered"):
        return Refused(reply=text, data=data)
    if reply.finish == "length":
        return Unparsed(reply=text, complaint="the reply was cut off at `max_tokens`", data=data)
    return read(text, quoted, data)


def _joint(text: str, first: re.Match[str], second: re.Match[str]) -> bool:
    return first[1] != second[1] and _JOINT.fullmatch(text, first.end(), second.start()) is not None
