"""Servers in processes of their own: the loopback one, and those of others."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

SERVER = Path(__file__).parent / "loopback.py"


class Remote:
    """A loopback server in another process."""

    def __init__(self, *options: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(SERVER), "--port", "0", *options], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self.process.stdout.readline())}"

    def counts(self) -> dict[str, int]:
        return dict(fetched(f"{self.url}/counts"))

    def script(self, script: Mapping[str, object]) -> None:
        fetched(f"{self.url}/script", script)

    def stop(self) -> None:
        self.process.terminate()
        self.process.communicate()


@contextmanager
def remote(*options: str) -> Iterator[Remote]:
    """Serve for the length of a block."""
    server = Remote(*options)
    try:
        yield server
    finally:
        server.stop()


def fetched(url: str, body: Mapping[str, object] | None = None) -> Mapping[str, int]:
    """Get a JSON object, or post one and get another."""
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data)) as reply:
        return json.load(reply)  # type: ignore[no-any-return] # JSON
