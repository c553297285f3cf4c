"""How likely a model finds what it is to learn: one sum a row, in evaluation and in the checks alike."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedModel

AT_ONCE = {"cpu": 1024, "cuda": 2048}
"""Tokens a batch: the logits of 1,024 over a vocabulary of 50,000 take 200 MB, and a GPU waits for small batches."""


@dataclass(frozen=True)
class Example:
    """Token ids, and for each whether it is learned."""

    ids: list[int]
    learned: list[bool]

    @property
    def tokens(self) -> int:
        """Return how many tokens are predicted and learned: the first has nothing before it."""
        return sum(self.learned[1:])

    @property
    def labels(self) -> list[int]:
        """Return the ids with -100 where nothing is learned, as transformers takes them."""
        return [token if learned else -100 for token, learned in zip(self.ids, self.learned, strict=True)]

    @property
    def features(self) -> dict[str, list[int]]:
        """Return what TRL's collator pads."""
        return {"input_ids": self.ids, "labels": self.labels}


def log_likelihoods(model: PreTrainedModel, examples: Sequence[Example]) -> list[float]:
    """Return each example's log-probability (natural log, summed over its learned tokens), without dropout or gradient.

    The model is left in the mode it was in.
    """
    import torch
    from torch.nn.functional import cross_entropy
    from torch.nn.utils.rnn import pad_sequence

    found = [0.0] * len(examples)
    training = model.training
    model.eval()
    with torch.no_grad():
        for batch in of_like_length(examples, AT_ONCE[model.device.type]):
            rows = [examples[place] for place in batch]
            # what stands behind a row's end is masked and not scored, so any id will do
            ids = pad_sequence([torch.tensor(row.ids) for row in rows], batch_first=True)
            following = [torch.tensor([*row.labels[1:], -100]) for row in rows]
            labels = pad_sequence(following, batch_first=True, padding_value=-100)
            mask = pad_sequence([torch.ones(len(row.ids), dtype=torch.long) for row in rows], batch_first=True)
            # the logits of a prompt that is not learned would cost more than all its layers
            scored = (labels != -100).any(0).nonzero().flatten()
            labels = labels[:, scored].to(model.device)
            ids, mask, scored = (part.to(model.device) for part in (ids, mask, scored))
            logits = model(input_ids=ids, attention_mask=mask, use_cache=False, logits_to_keep=scored).logits
            losses = cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), reduction="none", ignore_index=-100)
            for place, value in zip(batch, losses.view(labels.shape).double().sum(1).tolist(), strict=True):
                found[place] = -value
    model.train(training)
    return found


def loss_per_token(likelihoods: Sequence[float], examples: Sequence[Example]) -> float:
    """Return the mean loss over all learned tokens."""
    return -sum(likelihoods) / sum(example.tokens for example in examples)


def write_heldout(path: Path, rows: Sequence[Mapping[str, float]]) -> None:
    """Write one line a held-out row, so that a mean can be told from its spread."""
    lines = (json.dumps({"row": number, **row}) + "\n" for number, row in enumerate(rows))
    path.write_text("".join(lines), encoding="utf-8")


def of_like_length(examples: Sequence[Example], at_once: int) -> Iterator[list[int]]:
    """Yield places of examples of like length, at most `at_once` tokens, so that little of a batch is padding."""
    batch: list[int] = []
    for place in sorted(range(len(examples)), key=lambda place: (-len(examples[place].ids), place)):
        longest = len(examples[batch[0]].ids) if batch else 0
        if batch and longest * (len(batch) + 1) > at_once:
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch
