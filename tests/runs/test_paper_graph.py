"""The paper's recipe on toy parts, its OpenAI and Anthropic clients kept and pointed at servers on 127.0.0.1."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from runs.tiny_project import ROOT, copy_project

from bezoar_core.testing import BezoarProject

PROFILES = ("--profile", "paper", "--profile", "tiny", "--profile", "loopback")
LOOPBACK = """\
  loopback:
    models:
      teacher:
        client: openai
        model: h2oai/h2ogpt-gm-oasst1-en-2048-falcon-40b-v2
        base_url: "${LOOPBACK_URL}/v1"
        api: completions
        format: falcon-h2o
        price: {input: 0, output: 0}
        licence: apache-2.0
      gpt: {base_url: "${LOOPBACK_URL}/v1"}
      claude: {base_url: "${LOOPBACK_URL}"}
    judges:
      proxy: {model: gpt}
      mt: {model: claude}
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    tiny = yaml.safe_load((ROOT / "registry.yaml").read_text())["profiles"]["tiny"]["models"]
    rules = {
        "rules": [*tiny["teacher"]["rules"], *tiny["judge"]["rules"], {"when": "[[rating]]", "reply": "Rating: [[7]]"}],
        "replies": tiny["teacher"]["replies"],
    }
    (tmp_path / "rules.json").write_text(json.dumps(rules))
    command = [sys.executable, str(ROOT / "tests" / "clients" / "loopback.py"), "--port", "0"]
    process = subprocess.Popen([*command, "--rules", str(tmp_path / "rules.json")], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    port = process.stdout.readline().split()[-1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.communicate()


def project_of(folder: Path, url: str) -> BezoarProject:
    project = copy_project(folder)
    registry = project.root / "registry.yaml"
    registry.write_text(registry.read_text() + LOOPBACK)
    keys = {"LOOPBACK_URL": url, "OPENAI_API_KEY": "sk-canary-1", "ANTHROPIC_API_KEY": "sk-canary-2", "FALCON_URL": url}
    return replace(project, environment=keys)


def test_check_and_plan_work_offline_on_the_papers_recipe(tmp_path: Path) -> None:
    project = copy_project(tmp_path / "project")
    for command in ("check", "plan"):
        ended = project.bezoar(command, "--profile", "paper")
        assert ended.status == 0, ended.err
        assert "environment variable `FALCON_URL` is not set" in " ".join(ended.out.split())
    refused = project.bezoar("run", "--profile", "paper")
    assert refused.status == 2
    assert "environment variable `OPENAI_API_KEY` is not set" in refused.err


@pytest.mark.timeout(600)
def test_the_papers_graph_runs_over_both_protocols(server: str, tmp_path: Path) -> None:
    project = project_of(tmp_path / "project", server)
    ended = project.bezoar("run", *PROFILES)
    assert ended.status == 0, ended.err
    with urllib.request.urlopen(f"{server}/counts") as reply:
        counts = json.load(reply)
    assert counts["ok"] == counts["requests"] > 100
    state = project.root / ".bezoar"
    for step, model, client in (
        ("orca", "teacher", "openai"),
        ("orca-kept", "gpt", "openai"),
        ("mt-bench@dpo", "claude", "anthropic"),
    ):
        (folder,) = state.glob(f"artifacts/{step}-????????????")
        manifest = json.loads((folder / "manifest.json").read_text())
        assert manifest["models"][model]["client"] == client
        assert manifest["cost"]["requests"] > 0
    for step, lora in (("dpo", False), ("hh-sft", True)):
        (folder,) = state.glob(f"artifacts/{step}-????????????")
        manifest = json.loads((folder / "manifest.json").read_text())
        assert (manifest["model"]["adapters"] is not None) == lora
    release = project.bezoar("release", *PROFILES, "--dry-run")
    assert release.status == 0, release.err
    for path in project.root.rglob("*"):
        if path.is_file() and path.suffix in {
            ".json",
            ".jsonl",
            ".md",
            ".txt",
            ".log",
            ".yaml",
            ".lock",
            ".sqlite",
            "",
        }:
            assert b"sk-canary" not in path.read_bytes(), path
    again = project.bezoar("run", *PROFILES)
    assert again.status == 0
    assert "started" not in again.err
