"""A model in memory: prompts to ids, batches to replies, choices to scores. Used by one thread at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from bezoar_core.errors import BezoarError, RequestFailed
from bezoar_core.prompt_format import PromptFormat, encode, get_format
from bezoar_core.records import Completion, ModelDir, Request, Usage
from bezoar_plugins.clients.token_draws import Draws, Ends, Reply

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Prompt:
    """A request as the model reads it; `room` is how many tokens fit after it."""

    request: Request
    format: PromptFormat
    ids: list[int]
    room: int


@dataclass(frozen=True)
class LoadedModel:
    """A model, loaded when it is first used. `max_length` lowers the context length its config gives."""

    source: ModelDir
    dtype: str
    max_length: int | None

    def prompt(self, request: Request) -> Prompt:
        """Return the request's ids; raise `RequestFailed` of kind `context` where they leave no room for a reply."""
        format = self._formats(request.format or self.source.format)
        ids = encode(format, request.messages, self.tokenizer, request.prefill).ids
        room = self.length - len(ids)
        if room < 1:
            raise RequestFailed(
                f"the prompt has {len(ids)} tokens, and the context length is {self.length}",
                kind="context",
                where=f"model `{self.source.name}`",
                tip="shorten what goes in, or use a model with a longer context",
            )
        return Prompt(request, format, ids, room)

    def replies(self, prompts: Sequence[Prompt], gone: Sequence[Callable[[], bool]]) -> list[Completion]:
        """Return the replies to one batch; a row whose `gone` is true is not gone on with."""
        import torch
        from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

        rows = [self._row(prompt, left) for prompt, left in zip(prompts, gone, strict=True)]
        ids, mask = self._padded([prompt.ids for prompt in prompts])
        settings = GenerationConfig(
            max_new_tokens=max(row.limit for row in rows), do_sample=False, pad_token_id=self._padding
        )
        with torch.inference_mode():
            self.model.generate(
                input_ids=ids,
                attention_mask=mask,
                generation_config=settings,
                logits_processor=LogitsProcessorList([Draws(rows, str(self.model.device))]),
                stopping_criteria=StoppingCriteriaList([Ends(rows, self.tokenizer)]),
            )
        return [self._completion(prompt, row) for prompt, row in zip(prompts, rows, strict=True)]

    def choice(self, prompt: Prompt) -> Completion:
        """Return the choice that is likeliest after the prompt, with the log-probability of each.

        Where one choice begins another, the end of the turn counts too: without it the shorter would always win.
        """
        request = prompt.request
        opening = "" if request.prefill else prompt.format.opening
        choices = [self._ids(opening + choice) for choice in request.choices]
        if not all(choices):
            raise RequestFailed("one of `choices` is empty", kind="request")
        if any(a is not b and b[: len(a)] == a for a in choices for b in choices):
            end = self._end(prompt.format)
            choices = [[*choice, end] for choice in choices]
        scores = self._scores(prompt.ids, choices)
        best = scores.index(max(scores))
        usage = Usage(input_tokens=len(prompt.ids), output_tokens=len(choices[best]))
        return Completion(text=request.choices[best], usage=usage, model=self.source.name, scores=tuple(scores))

    def _scores(self, prompt: list[int], choices: Sequence[list[int]]) -> list[float]:
        """Run the prompt once, then what stands before the last token of each choice on copies of its cache."""
        import torch

        lines: list[list[int]] = []
        for choice in sorted(choices, key=len, reverse=True):
            if not any(other[: len(choice) - 1] == choice[:-1] for other in lines):
                lines.append(choice[:-1])
        width, device = len(lines[0]), self.model.device
        with torch.inference_mode():
            start = self.model(input_ids=torch.tensor([prompt], device=device), logits_to_keep=1, use_cache=True)
            logs = start.logits.float().log_softmax(-1).expand(len(lines), -1, -1)
            if width:
                cache = start.past_key_values
                cache.batch_repeat_interleave(len(lines))
                # padded on the right: what is looked at never sees the padding after it
                ids = [line + [self._padding] * (width - len(line)) for line in lines]
                places = torch.arange(len(prompt), len(prompt) + width, device=device).expand(len(lines), -1)
                after = self.model(
                    input_ids=torch.tensor(ids, device=device), position_ids=places, past_key_values=cache
                ).logits
                logs = torch.cat([logs, after.float().log_softmax(-1)], dim=1)
        scores: list[float] = []
        for choice in choices:
            number = next(n for n, line in enumerate(lines) if line[: len(choice) - 1] == choice[:-1])
            scores.append(sum(float(logs[number, place, token]) for place, token in enumerate(choice)))
        return scores

    def _row(self, prompt: Prompt, gone: Callable[[], bool]) -> Reply:
        sampling = prompt.request.sampling
        stops = {*prompt.format.stops, *prompt.request.stop}
        special = {stop: self._special(stop) for stop in stops}
        tokens = {token for token in special.values() if token is not None}
        return Reply(
            temperature=1.0 if sampling.temperature is None else sampling.temperature,
            top_p=1.0 if sampling.top_p is None else sampling.top_p,
            seed=_seed(prompt.request),
            limit=min(sampling.max_tokens, prompt.room),
            ends=frozenset(tokens | {self.tokenizer.eos_token_id}),
            stops=tuple(sorted(stop for stop in stops if special[stop] is None)),
            gone=gone,
        )

    def _completion(self, prompt: Prompt, row: Reply) -> Completion:
        lead = self._ids(prompt.format.opening + prompt.request.prefill) if prompt.request.prefill else []
        drawn = row.ids[:-1] if row.finish == "end" else row.ids
        # decoded together, since some tokenizers drop the space at the start of a text
        text = self._text([*lead, *drawn])[len(self._text(lead)) :]
        if not lead:
            text = text.removeprefix(prompt.format.opening)
        cuts = [place for stop in row.stops if (place := text.find(stop)) >= 0]
        return Completion(
            text=text[: min(cuts)] if cuts else text,
            finish="length" if row.finish == "length" else "stop",
            usage=Usage(input_tokens=len(prompt.ids), output_tokens=len(row.ids)),
            model=self.source.name,
            raw={"text": text},
        )

    def _padded(self, lines: Sequence[list[int]]) -> tuple[Tensor, Tensor]:
        import torch

        width = max(len(line) for line in lines)
        ids = [[self._padding] * (width - len(line)) + line for line in lines]
        mask = [[0] * (width - len(line)) + [1] * len(line) for line in lines]
        return torch.tensor(ids, device=self.model.device), torch.tensor(mask, device=self.model.device)

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _text(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def _special(self, text: str) -> int | None:
        known = text in self.tokenizer.all_special_tokens
        return int(self.tokenizer.convert_tokens_to_ids(text)) if known else None

    def _end(self, format: PromptFormat) -> int:
        ends = (self._special(stop) for stop in format.stops) if format.closed else iter(())
        return next((end for end in ends if end is not None), int(self.tokenizer.eos_token_id))

    def _formats(self, name: str) -> PromptFormat:
        if name not in self._known_formats:
            self._known_formats[name] = get_format(name, self.tokenizer)
        return self._known_formats[name]

    @cached_property
    def _known_formats(self) -> dict[str, PromptFormat]:
        return {}

    @cached_property
    def _padding(self) -> int:
        padding = self.tokenizer.pad_token_id
        return int(self.tokenizer.eos_token_id if padding is None else padding)

    @cached_property
    def length(self) -> int:
        """Return the context length."""
        own = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        return min(n for n in (own, self.max_length, self.tokenizer.model_max_length) if n is not None)

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Return the tokenizer; raise where it has no token that ends a reply."""
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(self.source.path)
        if tokenizer.eos_token_id is None:
            tip = "give its `tokenizer_config.json` an `eos_token`"
            raise BezoarError("the tokenizer has no EOS token: no reply could end", where=self.source.name, tip=tip)
        return tokenizer

    @cached_property
    def model(self) -> PreTrainedModel:
        """Return the model, on the accelerator where there is one."""
        import torch
        from transformers import AutoModelForCausalLM, GenerationConfig
        from transformers.utils import logging

        logging.disable_progress_bar()
        model = AutoModelForCausalLM.from_pretrained(
            self.source.path, dtype=getattr(torch, self.dtype), use_safetensors=True
        )
        # some published ones name a wrong EOS; what ends a reply is the tokenizer's and the prompt format's to say
        model.generation_config = GenerationConfig()
        return model.eval().to("cuda" if torch.cuda.is_available() else "cpu")


def _seed(request: Request) -> int:
    """Return the seed of a request's own generator: a hash of all that is in it."""
    return int.from_bytes(hashlib.sha256(repr(asdict(request)).encode()).digest()[:8], "big") >> 1
