"""FastChat's own code, as an oracle."""

from __future__ import annotations

import importlib
import sys
import warnings
from types import ModuleType


def fastchat_module(name: str) -> ModuleType:
    """Import a module of `fastchat.llm_judge`; the SDKs it imports are for calls alone, and no test makes one."""
    sdks = {sdk: ModuleType(sdk) for sdk in ("openai", "anthropic") if sdk not in sys.modules}
    sys.modules.update(sdks)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # FastChat's patterns are no raw strings
            return importlib.import_module(f"fastchat.llm_judge.{name}")
    finally:
        for sdk in sdks:
            del sys.modules[sdk]
