"""What a model says of itself, or instead of an answer."""

from __future__ import annotations

from bezoar_plugins.near_duplicates import words

BOILERPLATE = (
    "as an AI",
    "as a language model",
    "as a large language model",
    "I'm an AI",
    "I am an AI",
    "I'm a language model",
    "I am a language model",
    "I'm just an AI",
    "I'm only an AI",
    "my training data",
    "my knowledge cutoff",
    "my last knowledge update",
    "trained by OpenAI",
    "developed by OpenAI",
    "created by Anthropic",
    "I can't assist with",
    "I cannot assist with",
    "I can't help with that",
    "I cannot help with that",
    "I can't fulfill",
    "I cannot fulfill",
    "I'm unable to fulfill",
    "I am unable to fulfill",
    "I can't comply",
    "I cannot comply",
    "I can't provide that",
    "I cannot provide that",
    "I'm sorry, but I can't",
    "I'm sorry, but I cannot",
    "I apologize, but I can't",
    "I apologize, but I cannot",
    "I don't have personal opinions",
    "I do not have personal opinions",
    "I don't have access to real-time",
    "against my programming",
    "violates my guidelines",
)


def phrase_in(text: str, phrases: tuple[str, ...]) -> str | None:
    """Return the first of `phrases` whose words stand in `text` in their order; case and punctuation do not matter."""
    held = f" {' '.join(words(text))} "
    return next((phrase for phrase in phrases if f" {' '.join(words(phrase))} " in held), None)
