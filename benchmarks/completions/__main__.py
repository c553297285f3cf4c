"""How fast are completions, and what do they cost? `make bench-completions`; with `PEERS=1` the peers too.

A server on 127.0.0.1, in a process of its own, answers after a set delay; every client is a process of its own that
asks it 2,000 different prompts after 512 to warm up. The clients take turns in each round; the table gives medians.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import results  # noqa: E402 - benchmarks are scripts, not a package

ROUNDS = int(os.environ.get("ROUNDS", "5"))
COUNT = 2_000
MANY = 200_000
WORLDS = ((0, 64), (0, 256), (50, 64), (50, 256))
"""Delay in milliseconds, requests in flight."""


@dataclass(frozen=True)
class Client:
    """A script beside this one, and the virtual environment it runs in (empty: this one)."""

    name: str
    script: str
    venv: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    peer: bool = False

    @property
    def python(self) -> str:
        return str(HERE / ".venvs" / self.venv / "bin" / "python") if self.venv else sys.executable


CLIENTS = (
    Client("ours", "ours.py"),
    Client("aiohttp", "bare_aiohttp.py"),
    Client("openai SDK", "openai_sdk.py", "sdk"),
    Client("anthropic SDK", "anthropic_sdk.py", "sdk"),
    Client("curator", "curator_peer.py", "curator", peer=True),
    Client("distilabel", "distilabel_peer.py", "distilabel", peer=True),
)
UNSAFE = Client("ours, nothing kept", "ours.py", settings={"UNSAFE": "1"})
WHOLE = Client("bezoar run", "whole_run.py")


def main() -> None:
    peers = bool(os.environ.get("PEERS"))
    rows: list[dict[str, object]] = []
    with _server() as port:
        for number in range(ROUNDS):
            for ms, in_flight in WORLDS:
                for client in CLIENTS:
                    if peers or not client.peer:
                        rows.append(_measure(client, port, ms, in_flight, COUNT, number))
            rows.append(_measure(UNSAFE, port, 0, 64, COUNT, number))
            rows.append(_measure(WHOLE, port, 0, 64, COUNT, number))
        for client in (*CLIENTS[:2], WHOLE):
            rows.append(_measure(client, port, 0, 64, MANY, 0))
    _show(rows)
    packages = ("bezoar", "aiohttp", "orjson")
    print("\nwritten:", results.write("completions", rows, _ratios(rows, peers), packages).relative_to(Path.cwd()))


@contextmanager
def _server() -> Iterator[int]:
    command = [sys.executable, str(HERE / "server.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None and server.stdout is not None
        yield int(server.stdout.readline())
        server.stdin.close()  # it ends with its input


def _measure(client: Client, port: int, ms: int, in_flight: int, count: int, number: int) -> dict[str, object]:
    with tempfile.TemporaryDirectory(prefix="bezoar-bench-") as folder:
        command = [client.python, str(HERE / client.script), f"http://127.0.0.1:{port}/ms/{ms}/v1"]
        done = subprocess.run(
            [*command, str(count), str(in_flight), folder],
            env={**os.environ, **client.settings},
            cwd=folder,
            stdout=subprocess.PIPE,
            text=True,
            timeout=1800,
            check=False,
        )
    if done.returncode:
        sys.exit(f"{client.name} ended with status {done.returncode}")
    found = json.loads(done.stdout.splitlines()[-1])
    if found["answered"] != count:
        print(f"{client.name} answered {found['answered']} of {count}", file=sys.stderr)
    return {"client": client.name, "ms": ms, "in_flight": in_flight, "count": count, "round": number, **found}


def _median(rows: list[dict[str, object]], key: str, **chosen: object) -> float | None:
    values = [float(str(row[key])) for row in rows if all(row[name] == value for name, value in chosen.items())]
    return statistics.median(values) if values else None


def _show(rows: list[dict[str, object]]) -> None:
    print(f"{'client':<20}{'prompts':>9}{'ms':>5}{'in flight':>11}{'requests/s':>12}{'CPU s/1,000':>13}{'MB':>7}")
    for key in dict.fromkeys((row["count"], row["ms"], row["in_flight"], row["client"]) for row in rows):
        count, ms, in_flight, client = key
        chosen = {"count": count, "ms": ms, "in_flight": in_flight, "client": client}
        seconds, cpu, mb = (_median(rows, name, **chosen) or 0.0 for name in ("seconds", "cpu", "mb"))
        total = int(str(count))
        print(
            f"{client!s:<20}{total:>9,}{ms!s:>5}{in_flight!s:>11}{total / seconds:>12,.0f}"
            f"{cpu * 1000 / total:>13.2f}{mb:>7.0f}"
        )


def _ratios(rows: list[dict[str, object]], peers: bool) -> dict[str, float | None]:
    """Return ours over theirs, by requests a second unless the name says another thing."""

    def rate(client: str, ms: int, in_flight: int) -> float:
        return COUNT / (_median(rows, "seconds", client=client, ms=ms, in_flight=in_flight, count=COUNT) or 1e9)

    def best(*names: str) -> float:
        return rate("ours", 0, 64) / max(rate(name, 0, 64) for name in names)

    ours = {"client": "ours", "ms": 0, "in_flight": 64}
    cpu = _median(rows, "cpu", count=COUNT, **ours)
    seconds = _median(rows, "seconds", count=COUNT, **ours) or 0.0
    unsafe = _median(rows, "seconds", client=UNSAFE.name) or 1e9
    return {
        "aiohttp_0ms_c64": best("aiohttp"),
        "best_sdk_0ms_c64": best("openai SDK", "anthropic SDK"),
        "best_peer_0ms_c64": best("curator", "distilabel") if peers else None,
        "bound_50ms_c64": rate("ours", 50, 64) / (64 / 0.05),
        "floor_50ms_c256": COUNT / rate("ours", 50, 256) / (COUNT / 256 * 0.05),
        "cpu_per_1000": cpu * 1000 / COUNT if cpu is not None else None,
        "mb_2000": _median(rows, "mb_step", client=WHOLE.name, count=COUNT),
        "mb_200000": _median(rows, "mb_step", client=WHOLE.name, count=MANY),
        "mb_parent": _median(rows, "mb_parent", client=WHOLE.name, count=MANY),
        "nothing_to_do_2000_s": _median(rows, "again", client=WHOLE.name, count=COUNT),
        "nothing_to_do_200000_s": _median(rows, "again", client=WHOLE.name, count=MANY),
        "durability_cost": seconds / unsafe - 1,
    }


if __name__ == "__main__":
    main()
