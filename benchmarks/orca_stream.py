"""How much memory does Orca take over FLAN mirrors of 2 GB, and what does a kill cost? `make bench-orca`.

Writes four sub-collections of made-up rows as parquet, in row groups of 50,000, to a temporary folder and runs bezoar
over them against a server on 127.0.0.1: once undisturbed, once killed with SIGKILL in the middle and resumed. Both must
leave the same files.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import results  # noqa: E402 - benchmarks are scripts, not a package

GIGABYTES = float(os.environ.get("GIGABYTES", "2"))
COUNT = 2_000
IN_FLIGHT = 64
SOURCES = {"cot": "CoT", "niv2": "NIv2", "t0": "P3", "flan2021": "Flan2021"}
TEMPLATES = ("zs_opt", "fs_opt", "zs_noopt", "fs_noopt")
LOOPBACK = HERE.parent / "tests" / "clients" / "loopback.py"
REGISTRY = """\
bezoar: 1
name: orca-stream
seed: 42
models:
  teacher:
    client: openai
    model: loopback
    base_url: "http://127.0.0.1:{port}/v1"
    concurrency: {in_flight}
datasets:
{datasets}
steps:
  orca: {{use: orca, teacher: teacher, seeds: [cot, niv2, t0, flan2021], count: {count}}}
"""


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="bezoar-orca-") as folder:
        mirror = Path(folder) / "mirror"
        began = time.monotonic()
        written = [_write(mirror / name, source, GIGABYTES * 1e9 / 4) for name, source in SOURCES.items()]
        size = sum(path.stat().st_size for path in mirror.rglob("*.parquet"))
        print(f"{sum(written):,} rows, {size / 1e9:.2f} GB, written in {time.monotonic() - began:.0f} s", flush=True)
        rules = Path(folder) / "rules.json"
        rules.write_text(json.dumps({"replies": ["It is {hash}, for a reason that takes a few words to tell."]}))
        with _server(rules) as port:
            straight = _project(Path(folder) / "straight", mirror, port)
            whole = _run(straight, port, None)
            asked = _asked(port)
            killed = _project(Path(folder) / "killed", mirror, port)
            first = _run(killed, port, asked + COUNT // 2)
            second = _run(killed, port, None)
            again = _asked(port) - 2 * asked
        same = _rows(straight) == _rows(killed)
    rows = [{"run": name, **run} for name, run in (("whole", whole), ("killed", first), ("resumed", second))]
    for row in rows:
        print(
            f"{row['run']:<8} {row['seconds']:6.1f} s, step {row['step_mb']:4.0f} MB, parent {row['parent_mb']:4.0f} MB"
        )
    print(f"{again} requests asked again after the kill, {IN_FLIGHT} were under way at most; rows equal: {same}")
    ratios = {
        "step_mb": max(run["step_mb"] for run in (whole, first, second)),
        "parent_mb": max(run["parent_mb"] for run in (whole, first, second)),
        "asked_again": float(again),
        "rows_equal": float(same),
        "mirror_gb": size / 1e9,
        "gb_per_second": size / 1e9 / whole["seconds"],
    }
    print("written:", results.write("orca_stream", rows, ratios, ("bezoar", "pyarrow", "aiohttp")))


def _write(folder: Path, source: str, size: float) -> int:
    """Write a sub-collection of about `size` bytes; return how many rows it has."""
    folder.mkdir(parents=True)
    dice = random.Random(source)
    words = ["".join(dice.choices("abcdefghijklmnopqrstuvwxyz", k=dice.randint(2, 9))) for _ in range(20_000)]
    prose = " ".join(dice.choices(words, k=1_000_000))

    def text(most: int) -> str:
        at, length = dice.randrange(len(prose) - most), dice.randint(most // 10, most)
        return prose[at : at + length]

    count = 0
    path = folder / "train-00000-of-00001.parquet"
    columns = ("inputs", "targets", "task_source", "task_name", "template_type")
    schema = pa.schema([(name, pa.string()) for name in columns])
    with pq.ParquetWriter(path, schema, compression="snappy") as file:
        while not path.exists() or path.stat().st_size < size:
            rows = []
            for number in range(count, count + 50_000):
                template = TEMPLATES[dice.randrange(4)]
                inputs = f"{number}: {text(4000 if template.startswith('fs') else 1500)}"
                options = "\n\nOPTIONS:\n- yes\n- no" if template.endswith("_opt") else ""
                rows.append((inputs + options, text(300), source, f"task_{number // 5000}", template))
            count += 50_000
            file.write_table(pa.table([list(column) for column in zip(*rows, strict=True)], schema=schema))
    return count


@contextmanager
def _server(rules: Path) -> Iterator[int]:
    command = [sys.executable, str(LOOPBACK), "--rules", str(rules), "--delay", "0.05"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield int(server.stdout.readline())
        finally:
            server.terminate()


def _asked(port: int) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/counts") as reply:
        return int(json.load(reply).get("requests", 0))


def _project(root: Path, mirror: Path, port: int) -> Path:
    root.mkdir()
    (root / "mirror").symlink_to(mirror)
    datasets = "\n".join(f'  {name}: {{source: "file:mirror/{name}"}}' for name in SOURCES)
    text = REGISTRY.format(port=port, in_flight=IN_FLIGHT, count=COUNT, datasets=datasets)
    (root / "registry.yaml").write_text(text, encoding="utf-8")
    return root


def _run(root: Path, port: int, kill_at: int | None) -> dict[str, float]:
    """Run the registry to its end, or until the server has seen `kill_at` requests; return seconds and peak memory."""
    command = [sys.executable, "-m", "bezoar_core.cli", "run"]
    log = (root / "log.txt").open("ab")
    began = time.monotonic()
    peaks: dict[str, float] = {"step_mb": 0.0, "parent_mb": 0.0}
    with log, subprocess.Popen(command, cwd=root, stdout=log, stderr=log, start_new_session=True) as process:
        while process.poll() is None:
            peaks["parent_mb"] = max(peaks["parent_mb"], _peak(process.pid))
            peaks["step_mb"] = max(peaks["step_mb"], *(_peak(pid) for pid in _steps(process.pid)), 0.0)
            if kill_at is not None and _asked(port) >= kill_at:
                os.killpg(process.pid, signal.SIGKILL)
                break
            time.sleep(0.02)
        process.wait()
    if kill_at is None and process.returncode:
        sys.exit((root / "log.txt").read_text())
    return {"seconds": time.monotonic() - began, **peaks}


def _steps(parent: int) -> list[int]:
    try:
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        return [int(pid) for pid in children if b"bezoar_core.step" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    except OSError:
        return []


def _peak(pid: int) -> float:
    """Return the most memory a process has held, in MB (1e6 bytes)."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    line = next((line for line in status.splitlines() if line.startswith("VmHWM")), "VmHWM: 0 kB")
    return int(line.split()[1]) * 1024 / 1e6


def _rows(root: Path) -> list[bytes]:
    """Return what the step left, without the manifest."""
    (folder,) = (root / ".bezoar" / "artifacts").glob("orca-*")
    return [(folder / name).read_bytes() for name in ("rows.parquet", "dropped.parquet")]


if __name__ == "__main__":
    main()
