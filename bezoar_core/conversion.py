"""Models in other forms made into folders that transformers loads: fp32 safetensors, config, tokenizer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from bezoar_core.errors import BezoarError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

_INSTALL = "pip install 'bezoar[local]'"
_SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>")
_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)


def from_gguf(file: Path, out: Path) -> None:
    """Write the model of a GGUF file to `out`, its quantised weights expanded."""
    _quiet()
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        import torch

        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
        loaded = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    except ImportError as error:
        raise BezoarError(f"a GGUF file cannot be read: {error}", where=str(file), tip=_INSTALL) from error
    except (ValueError, KeyError, OSError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise BezoarError(f"is no GGUF file that transformers reads: {reason}", where=str(file)) from error
    # a model that came from GGUF refuses `save_pretrained`; a fresh one of its config with its weights does not
    config = loaded.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.load_state_dict(loaded.state_dict(), assign=True)
    model.tie_weights()
    _save(model, tokenizer, out)


def from_checkpoint(folder: Path, out: Path) -> None:
    """Write the model of a folder of torch checkpoints to `out`; only their tensors are unpickled."""
    _quiet()
    from pickle import UnpicklingError

    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=False, weights_only=True
        )
    except (ValueError, KeyError, OSError, RuntimeError, UnpicklingError) as error:
        reason = str(error).partition("\n")[0]
        raise BezoarError(f"holds no torch checkpoint that can be loaded: {reason}", where=str(folder)) from error
    _save(model, tokenizer, out)
    pieces = folder / "tokenizer.model"
    if pieces.is_file():  # transformers saves its own tokenizer alone, which training compares with this one
        shutil.copy(pieces, out)


def from_random(config: Path, out: Path) -> None:
    """Write a model with seeded random weights to `out`.

    `config` is a transformers `config.json` with two more keys: `seed` (0 where it is left out) and `tokenizer_text`,
    the file beside it (`tokenizer.txt` where it is left out) that a byte-level BPE tokenizer of at most `vocab_size`
    tokens is trained on. The tokenizer has a ChatML template, EOS `<|im_end|>` and PAD `<|pad|>`, and adds no BOS.
    """
    _quiet()
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    keys = _random_keys(config)
    seed = keys.pop("seed", 0)
    keys.pop("tokenizer_text", None)
    tokenizer = _trained_tokenizer(tokenizer_text(config), int(str(keys.get("vocab_size", 512))))
    keys |= {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    settings = AutoConfig.for_model(**keys)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(settings, dtype=torch.float32)
    _save(model, tokenizer, out)


def tokenizer_text(config: Path) -> Path:
    """Return the file that the tokenizer of a random model is trained on."""
    path = config.parent / str(_random_keys(config).get("tokenizer_text", "tokenizer.txt"))
    if not path.is_file():
        raise BezoarError(
            f"`{path.name}` does not exist, and the tokenizer is trained on it",
            where=str(config),
            tip="put a text file there, or name one beside it as `tokenizer_text`",
        )
    return path


def _random_keys(config: Path) -> dict[str, object]:
    try:
        keys = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BezoarError(f"is no readable `config.json`: {error}", where=str(config)) from None
    if not isinstance(keys, dict) or "model_type" not in keys:
        raise BezoarError("has no `model_type`", where=str(config), tip="write a transformers config, e.g. `llama`")
    return keys


def _trained_tokenizer(text: Path, size: int) -> PreTrainedTokenizerFast:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(_SPECIALS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    made.train_from_iterator(text.read_text(encoding="utf-8").splitlines(keepends=True), trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=made,
        unk_token="<|endoftext|>",
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|pad|>",
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = _TEMPLATE
    return tokenizer


def _save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


def _quiet() -> None:
    """Keep transformers' progress bars out of the logs; raise where it is not installed."""
    try:
        from transformers.utils import logging
    except ImportError as error:
        raise BezoarError(f"a local model needs transformers: {error}", tip=_INSTALL) from error
    logging.disable_progress_bar()
