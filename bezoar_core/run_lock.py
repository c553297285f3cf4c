"""One run at a time: a lock the kernel holds, and lets go however its holder ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bezoar_core.errors import BezoarError


@contextmanager
def run_lock(state: Path) -> Iterator[None]:
    """Hold `.bezoar/lock`, or raise `BezoarError` with the process that does."""
    try:
        state.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        tip = "a run writes beside its registry: copy the registry to a folder of yours"
        raise BezoarError(f"cannot be written: {error.strerror}", where=str(state), tip=tip) from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 64, 0).decode(errors="replace").strip()
            raise BezoarError(
                f"another run holds `{state / 'lock'}`" + (f" (process {holder})" if holder else ""),
                tip="wait for it, or look at it with `bezoar status`",
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
