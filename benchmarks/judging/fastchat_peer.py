"""FastChat's own `gen_judgment --parallel`, once what it imports is imported."""

from __future__ import annotations

import io
import json
import os
import runpy
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "completions"))

from measured import Clock  # noqa: E402 - benchmarks are scripts, not a package


def main() -> None:
    url, calls, in_flight, folder, data = sys.argv[1:]
    os.environ |= {"OPENAI_API_BASE": url, "OPENAI_API_KEY": "none"}
    bench = Path(folder) / "data" / "mt_bench"
    bench.mkdir(parents=True)
    shutil.copy(Path(data) / "question.jsonl", bench)
    shutil.copytree(Path(data) / "reference_answer", bench / "reference_answer")
    models = [f"model-{number}" for number in range(int(calls) // 160)]
    for model in models:
        _answers(bench, model)
    import fastchat.llm_judge.common  # noqa: F401 - not on the clock: it imports torch
    import openai  # noqa: F401

    sys.argv = ["gen_judgment", "--model-list", *models, "--parallel", in_flight, "--judge-model", "gpt-4"]
    sys.argv += ["--judge-file", str(Path(data) / "judge_prompts.jsonl")]
    sys.stdin = io.StringIO("\n")  # it asks for the Enter key
    clock = Clock()
    runpy.run_module("fastchat.llm_judge.gen_judgment", run_name="__main__")
    judged = (bench / "model_judgment" / "gpt-4_single.jsonl").read_text(encoding="utf-8").splitlines()
    clock.stop(sum(json.loads(line)["score"] == 7 for line in judged))


def _answers(bench: Path, model: str) -> None:
    answer = (HERE / "answer.txt").read_text(encoding="utf-8")
    path = bench / "model_answer" / f"{model}.jsonl"
    path.parent.mkdir(exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for line in (bench / "question.jsonl").read_text(encoding="utf-8").splitlines():
            question = json.loads(line)["question_id"]
            turns = [f"{model}, turn {turn}. {answer}" for turn in (1, 2)]
            row = {"question_id": question, "answer_id": f"{model}-{question}", "model_id": model, "tstamp": 0.0}
            file.write(json.dumps({**row, "choices": [{"index": 0, "turns": turns}]}) + "\n")


if __name__ == "__main__":
    main()
