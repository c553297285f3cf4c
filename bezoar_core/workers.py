"""Step processes: a fresh interpreter each, or a fork of a warm server where no accelerator is visible."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from bezoar_core.provenance import accelerator_visible

GRACE = 15.0
"""Seconds that an interrupted step is given to end; ours take at most 10."""


def step_environment() -> dict[str, str]:
    """Return the environment of a step process.

    Idle OpenMP threads sleep instead of spinning, unless the user says otherwise: on two shared cores a spinning thread
    takes the core from the one it waits for (measured: 16 tokens for 8 prompts in 33 s spinning, 9 s sleeping). Arrow
    gives memory back (measured: 20,000 rows judged in 119 MB instead of 142). TRL tells nobody that it is used.
    """
    ours = {
        "OMP_WAIT_POLICY": "passive",
        "TOKENIZERS_PARALLELISM": "false",
        "ARROW_DEFAULT_MEMORY_POOL": "system",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    return {**ours, **os.environ}


@dataclass
class Workers:
    """Starts step processes and waits for them; `close` ends what is still there.

    Steps that load a model are forked from a server that has imported torch and friends, if `warm`.
    """

    logs: Path
    warm: bool = field(default_factory=lambda: not accelerator_visible())
    _server: asyncio.subprocess.Process | None = None
    _running: set[int] = field(default_factory=set)
    _fresh_ones: set[asyncio.subprocess.Process] = field(default_factory=set)

    async def warm_up(self) -> None:
        """Start the warm server, so that it imports while other steps run."""
        if not self.warm or self._server is not None:
            return
        with (self.logs / "warm.log").open("ab") as log:
            self._server = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "bezoar_core.warm",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=step_environment(),
            )

    async def run(self, spec: Path, log: Path, *, local: bool) -> int:
        """Run one step process to its end; return its exit status, negative for a signal."""
        if local and self._server is not None and self._server.returncode is None:
            status = await self._forked(spec, log)
            if status is not None:
                return status
        return await self._fresh(spec, log)

    async def _fresh(self, spec: Path, log: Path) -> int:
        with log.open("ab") as file:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "bezoar_core.step",
                str(spec),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env=step_environment(),
            )
        self._fresh_ones.add(process)
        status = await process.wait()
        self._fresh_ones.discard(process)
        return status

    async def _forked(self, spec: Path, log: Path) -> int | None:
        """Return the forked step's status, or None where the server could not start it."""
        server = self._server
        if server is None or server.stdin is None or server.stdout is None:
            return None
        server.stdin.write(orjson.dumps({"spec": str(spec), "log": str(log)}) + b"\n")
        with contextlib.suppress(ConnectionError):
            await server.stdin.drain()
        started = await server.stdout.readline()
        if not started:
            await server.wait()
            return None
        pid = int(orjson.loads(started)["pid"])
        self._running.add(pid)
        try:
            ended = await server.stdout.readline()
        finally:
            self._running.discard(pid)
        return int(orjson.loads(ended)["status"]) if ended else -signal.SIGKILL

    async def close(self) -> None:
        """End the processes still running, once they have what is paid for, and the warm server."""
        for pid in [*self._running, *(process.pid for process in self._fresh_ones)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        if self._fresh_ones:
            await asyncio.wait([asyncio.create_task(one.wait()) for one in self._fresh_ones], timeout=GRACE)
        if self._server is not None and self._server.returncode is None:
            if self._server.stdin is not None:
                self._server.stdin.close()
            with contextlib.suppress(ProcessLookupError):
                self._server.terminate()
            await self._server.wait()
