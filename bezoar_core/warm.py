"""The warm server: imports what steps with a model import, then forks one step after the other.

It reads `{"spec", "log"}` a line and answers `{"pid"}` and, when the step ended, `{"status"}`. It is never started
where an accelerator is visible: importing bitsandbytes initialises CUDA, and a forked child cannot use it then.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
import traceback

import orjson

from bezoar_core.step import die_with_parent, main

PRELOADED = (
    "torch",
    "transformers",
    "transformers.models.llama.modeling_llama",
    "datasets",
    "peft",
    "bitsandbytes",
    "trl.trainer.sft_trainer",
    "trl.trainer.dpo_trainer",
    "trl.trainer.kto_trainer",
)


def serve() -> None:
    """Fork steps until the input ends."""
    die_with_parent()
    replies = os.dup(1)
    os.dup2(2, 1)  # what an import prints is no reply
    for name in PRELOADED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    for line in sys.stdin.buffer:
        order = orjson.loads(line)
        pid = os.fork()
        if pid == 0:
            os.close(replies)
            os._exit(_child(order["spec"], order["log"]))
        os.write(replies, orjson.dumps({"pid": pid}) + b"\n")
        _, status = os.waitpid(pid, 0)
        os.write(replies, orjson.dumps({"status": os.waitstatus_to_exitcode(status)}) + b"\n")


def _child(spec: str, log: str) -> int:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    try:
        return main(spec)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()


if __name__ == "__main__":
    serve()
