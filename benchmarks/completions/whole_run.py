"""`bezoar run` over rows in a file, as a user has it: memory of the run and its step, and a run with nothing to do.

`python whole_run.py URL COUNT IN_FLIGHT FOLDER` judges COUNT rows; `mb` is the peak of the run's process plus that of
its step, `again` the seconds of a run that finds everything made.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

from measured import Task, task

REGISTRY = """\
bezoar: 1
name: bench
models:
  judge: {{client: openai, model: bench, base_url: "{url}", concurrency: {in_flight}}}
datasets:
  rows: {{source: "file:rows.jsonl", licence: cc0-1.0}}
judges:
  proxy: {{use: human-proxy, model: judge, choices: false, tries: 1}}
steps:
  judged: {{use: judged, judge: proxy, data: rows, on_error: 1.0}}
"""
RUN = [sys.executable, "-m", "bezoar_core.cli", "run", "registry.yaml"]


def run(given: Task) -> None:
    folder = Path(given.folder)
    (folder / "registry.yaml").write_text(REGISTRY.format(url=given.url, in_flight=given.in_flight))
    with (folder / "rows.jsonl").open("w") as file:
        for prompt in given.prompts:
            row = {"instruction": prompt, "response": "It tests each change before it ships it."}
            file.write(json.dumps(row) + "\n")
    began = time.perf_counter()
    peaks = _watched(folder)
    seconds = time.perf_counter() - began
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    again = time.perf_counter()
    subprocess.run(RUN, cwd=folder, check=True, capture_output=True)
    again = time.perf_counter() - again
    cpu = children.ru_utime + children.ru_stime
    (shown,) = (folder / ".bezoar" / "artifacts").glob("judged-*/manifest.json")
    answered = int(json.loads(shown.read_text())["cost"]["requests"])
    mb = {"mb": sum(peaks), "mb_parent": peaks[0], "mb_step": peaks[1]}
    print(json.dumps({"seconds": seconds, "cpu": cpu, **mb, "answered": answered, "again": again}))


def _watched(folder: Path) -> tuple[float, float]:
    """Run to the end and return the peaks of the run and of its step in MB."""
    with subprocess.Popen(RUN, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        parent = step = 0.0
        while process.poll() is None:
            parent = max(parent, _peak(process.pid))
            step = max([step, *(_peak(child) for child in _children(process.pid))])
            time.sleep(0.02)
    if process.returncode:
        sys.exit(f"bezoar run ended with status {process.returncode}")
    return parent, step


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _peak(pid: int) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    found = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
    return int(found[0]) / 1024 if found else 0.0


if __name__ == "__main__":
    run(task())
