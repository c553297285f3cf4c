"""Bespoke Curator: its `LLM` in online mode over its openai backend, which speaks through aiohttp.

Rate limits are numbers that cannot be reached, set as its guide to online processing says, and requests in flight are
its semaphore. Its progress display, telemetry and viewer are off. Nothing is answered from a cache: the folder is
new, and each of the two calls has a fingerprint of its own; every reply goes to the responses file in it, as always.

Warm-up and prompts are two calls of one `LLM` in one process: what is imported and loaded stays, but each call opens
connections of its own and builds its data set within the clock. Its question for rate limits, when the `LLM` is
built, goes to the server before the clock.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

from measured import Clock, Task, task

if TYPE_CHECKING:
    from bespokelabs.curator import LLM

UNREACHED = 10**12
"""A minute; an estimate counts 4,096 tokens for the reply."""


def run(given: Task) -> None:
    with redirect_stdout(sys.stderr):
        llm = _llm(given)
        _ask(llm, given.warm, given.folder)
        _close_logs()
        clock = Clock()
        answered = _ask(llm, given.prompts, given.folder)
    clock.stop(answered)


def _llm(given: Task) -> LLM:
    os.environ.update(
        HOME=given.folder,  # an id for telemetry is written under it, sent or not
        HF_HOME=given.folder,
        HF_HUB_OFFLINE="1",
        TELEMETRY_ENABLED="false",
        CURATOR_DISABLE_RICH_DISPLAY="1",
        LITELLM_LOCAL_MODEL_COST_MAP="True",
        TQDM_DISABLE="1",
    )
    import litellm

    # The openai backend loads a tokenizer: from litellm's wheel, not from the network.
    os.environ["TIKTOKEN_CACHE_DIR"] = str(Path(litellm.__file__).parent / "litellm_core_utils" / "tokenizers")
    from bespokelabs import curator

    for handler in logging.getLogger("curator").handlers:
        handler.setLevel(logging.WARNING)
    return curator.LLM(
        model_name="bench",
        backend="openai",
        generation_params={"max_tokens": 64, "temperature": 0.0},
        backend_params={
            "base_url": given.url,
            "api_key": "none",
            "max_concurrent_requests": given.in_flight,
            "max_requests_per_minute": UNREACHED,
            "max_tokens_per_minute": UNREACHED,
        },
    )


def _ask(llm: LLM, prompts: Sequence[str], folder: str) -> int:
    return sum(1 for text in llm(prompts, working_dir=folder).dataset["response"] if text)


def _close_logs() -> None:
    """Close the warm-up's log file, which would be written on: each call adds one to those before it."""
    logger = logging.getLogger("curator.bespokelabs.curator.log")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()


if __name__ == "__main__":
    run(task())
