"""How a batch's tokens are drawn and where each reply ends: every row by itself, so that grouping changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import BoolTensor, FloatTensor, Generator, LongTensor, Tensor
    from transformers import PreTrainedTokenizerBase

Finish = Literal["", "end", "stop", "length", "gone"]

_SPARE_TOKENS = 8
_HEAD = 512


@dataclass
class Reply:
    """One row of a batch: how it is drawn, what ends it, and what was drawn so far. `gone` says that nobody waits."""

    temperature: float
    top_p: float
    seed: int
    limit: int
    ends: frozenset[int]
    stops: tuple[str, ...]
    gone: Callable[[], bool]
    ids: list[int] = field(default_factory=list)
    finish: Finish = ""


class Draws:
    """Turns scores into ones whose maximum is a draw: Gumbel noise from a generator of the row's own.

    The maximum of log-probability plus Gumbel noise is distributed as the probabilities are (Gumbel, 1954; Maddison et
    al., arXiv 1411.0030), and `generate` stays greedy. At temperature 0 the scores are left as they are.
    """

    def __init__(self, rows: Sequence[Reply], device: str) -> None:
        import torch

        self._rows = rows
        self._generators: list[Generator] = [torch.Generator(device).manual_seed(row.seed) for row in rows]
        # dividing by 1 leaves a row at temperature 0 as it is
        self._temperatures = torch.tensor([[row.temperature or 1.0] for row in rows], device=device)

    def __call__(self, input_ids: LongTensor, scores: FloatTensor) -> FloatTensor:
        """Return the scores with noise added in place to the rows that are still going."""
        import torch

        drawn = [place for place, row in enumerate(self._rows) if not row.finish and row.temperature > 0]
        if not drawn:
            return scores
        scores /= self._temperatures
        # a GPU starts one kernel after the other: what is the same for all rows is done to all of them at once
        noise = scores.new_empty(len(drawn), scores.shape[-1])
        for place, line in zip(drawn, noise, strict=True):
            line.uniform_(generator=self._generators[place])
        noise.log_().neg_().log_()
        for place, line in zip(drawn, noise, strict=True):
            row, own = self._rows[place], scores[place]
            if row.top_p < 1:
                own.masked_fill_(own < _least(own, row.top_p), -torch.inf)
            own -= line
        return scores


def _least(line: Tensor, top_p: float) -> Tensor:
    """Return the lowest score in the smallest set whose probability reaches `top_p` (Holtzman et al., 1904.09751)."""
    size = line.shape[-1]
    for head in (min(_HEAD, size), size):  # to sort the whole vocabulary takes longer than all the rest of a draw
        scores = line.topk(head).values
        reached = (scores - line.logsumexp(-1)).exp().cumsum(-1)
        if reached[-1] >= top_p:
            break
    return scores[(reached < top_p).sum().clamp_max(head - 1)]


class Ends:
    """Ends each row at its own end token, stop text or length."""

    def __init__(self, rows: Sequence[Reply], tokenizer: PreTrainedTokenizerBase) -> None:
        self._rows = rows
        self._tokenizer = tokenizer
        # what `generate` looks for to fill finished rows with padding
        self.eos_token_id = sorted({token for row in rows for token in row.ends})

    def __call__(self, input_ids: LongTensor, scores: FloatTensor | None) -> BoolTensor:
        """Note the tokens just drawn and return which rows are done."""
        import torch

        for row, token in zip(self._rows, input_ids[:, -1].tolist(), strict=True):
            if not row.finish:
                row.ids.append(token)
                row.finish = self._finish(row, token)
        return torch.tensor([bool(row.finish) for row in self._rows], device=input_ids.device)

    def _finish(self, row: Reply, token: int) -> Finish:
        if token in row.ends:
            return "end"
        if row.gone():
            return "gone"
        if row.stops:
            # a token is at least a byte: so many tokens hold any stop text that the newest token can have completed
            window = max(len(stop.encode()) for stop in row.stops) + _SPARE_TOKENS
            newest = row.ids[-window:]
            tail = self._tokenizer.decode(newest, skip_special_tokens=True, clean_up_tokenization_spaces=False)
            if any(stop in tail for stop in row.stops):
                return "stop"
        return "length" if len(row.ids) >= row.limit else ""
