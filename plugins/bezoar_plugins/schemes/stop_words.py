"""English words that carry no content by themselves."""

from __future__ import annotations

from bezoar_plugins.schemes.flaws import words

_TEXT = """
a about above after again against ain all also am an and any are aren as at be because been before being below
between both but by can cannot could couldn d did didn do does doesn doing don done down during each either else
etc ever every few for from further get gets got had hadn has hasn have haven having he her here hers herself him
himself his how however i if in into is isn it its itself just ll m ma many may maybe me might mightn mine more most
much must mustn my myself needn neither no nor not now o of off oh ok okay on once one only or other others our ours
ourselves out over own please quite rather re s same shall shan she should shouldn since so some still such t than
that the their theirs them themselves then there these they this those though through thus to too under until up
upon us ve very was wasn we well were weren what whatever when where whether which while who whoever whom whose why
will with within without won would wouldn y yes yet you your yours yourself yourselves
"""

STOP_WORDS = frozenset(_TEXT.split())


def is_contentless(text: str) -> bool:
    """Tell whether `text` holds nothing but stop words and punctuation."""
    return all(word in STOP_WORDS for word in words(text))
