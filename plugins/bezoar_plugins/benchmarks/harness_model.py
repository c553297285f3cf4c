"""A model's folder as the harness loads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from bezoar_core.errors import BezoarError
from bezoar_core.records import ModelDir
from bezoar_plugins.benchmarks.harness_tasks import WHERE

if TYPE_CHECKING:
    from lm_eval.models.huggingface import HFLM

Tokenise: TypeAlias = Literal["harness", "segments"]
Pair: TypeAlias = tuple[str, str]


def load_model(
    model: ModelDir, dtype: str, batch_size: int | Literal["auto"], tokenise: Tokenise, *, adapters: bool
) -> tuple[HFLM, dict[Pair, bool]]:
    """Return the model, and where it will say of each context and continuation whether tokenising them apart differs.

    With `adapters` the chain's adapters lie on the model that the chain began with, added up layer by layer; with
    `segments` context and continuation are tokenised each by itself, as stages train.
    """
    import torch
    from lm_eval.models.huggingface import HFLM

    gpu = torch.cuda.is_available()
    if batch_size == "auto" and not gpu:
        # it begins with 64 rows of the longest text the model takes: 103 GB of logits for 8,192 tokens of 49,152 words
        tip = "give a number, such as `batch_size: 8`: scores compare only at one batch size anyway"
        raise BezoarError("`batch_size: auto` needs CUDA, and there is none", where=WHERE, tip=tip)
    differs: dict[Pair, bool] = {}

    class Counting(HFLM):  # type: ignore[misc]  # lm_eval is untyped here
        def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
            joint: tuple[list[int], list[int]] = super()._encode_pair(context, continuation)
            # the harness moves a space at the end of the context into the continuation
            before = self.tok_encode(context) if context[-1:].isspace() else joint[0]
            apart = before, self.tok_encode(continuation, add_special_tokens=False)
            differs[context, continuation] = joint[0] + joint[1] != apart[0] + apart[1]
            return apart if tokenise == "segments" else joint

    chain = model.adapters if adapters and model.adapters else ()
    harness = Counting(
        pretrained=str((model.base if chain else model.path).resolve()),
        tokenizer=str(model.path.resolve()),
        device="cuda" if gpu else "cpu",
        dtype=dtype,
        batch_size=batch_size,
    )
    if chain:
        # not by the harness's `peft`: that takes one adapter, and cuts the embedding to the tokenizer's words
        from peft import PeftModel

        names = [f"stage{number}" for number in range(len(chain))]
        on_top = PeftModel.from_pretrained(harness.model, str(chain[0].path), adapter_name=names[0])
        for adapter, name in zip(chain[1:], names[1:], strict=True):
            on_top.load_adapter(str(adapter.path), adapter_name=name)
        on_top.base_model.set_adapter(names)
        harness._model = on_top.eval()
    return harness, differs
