from __future__ import annotations

import re
from pathlib import Path

import pytest
from stage_runs import preferences

from bezoar_core.testing import BezoarProject

ROOT = Path(__file__).parents[2]

REGISTRY = """
bezoar: 1
name: small
models:
  base: {source: "random:tiny/config.json", format: openbezoar, licence: apache-2.0}
datasets:
  mine: {source: "file:mine.jsonl", licence: apache-2.0}
  pairs: {source: "file:pairs.jsonl", licence: mit}
steps:
  named: {use: rename, data: mine, names: {instruction: question, response: answer}}
  some: {use: select, data: named, split: train, validation: 0.25}
  sft: {use: sft, model: base, data: some, loss: completion, max_length: 100}
  whole: {use: sft, model: sft, data: mine, format: chat}
  dpo: {use: dpo, model: sft, data: pairs, format: hh}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> BezoarProject:
    project = BezoarProject(tmp_path_factory.mktemp("project"))
    (project.root / "tiny").symlink_to(ROOT / "examples" / "tiny")
    project.rows("mine.jsonl", [{"question": f"Ask {n}.", "answer": f"The answer is {n}! " * 9} for n in range(8)])
    project.rows("pairs.jsonl", preferences(0, 3))
    project.write("registry.yaml", REGISTRY)
    ended = project.bezoar("run", "--until", "some")
    assert ended.status == 0, ended.err
    return project


def marks(out: str) -> list[tuple[str, int]]:
    return [(told, int(tokens)) for told, tokens in re.findall(r"^--- (.*), (\d+) tokens$", out, re.MULTILINE)]


def test_a_row_is_shown_as_its_stage_learns_it_with_what_is_cut_off(project: BezoarProject) -> None:
    shown = project.bezoar("show", "named", "--row", "2", "--set", "steps.sft.max_length=120")
    assert shown.status == 0, shown.err
    assert shown.out.startswith("named:2, as `sft` sees it in `openbezoar`\n")
    assert "### Instruction:\nAsk 1." in shown.out and "The answer is 1!" in shown.out
    prompt, target, cut = marks(shown.out)
    assert prompt[0] == "prompt, not learned" and target[0] == "target, learned" and cut[0] == "cut off"
    assert prompt[1] + target[1] == 120
    assert shown.out.count("<|im_end|>") == 1


@pytest.mark.slow
def test_a_stage_shows_the_rows_that_it_is_given_and_another_format_can_be_named(project: BezoarProject) -> None:
    stage, rows = (project.bezoar("show", name, "--row", "1") for name in ("sft", "some"))
    assert stage.out == rows.out
    other = project.bezoar("show", "sft", "--row", "1", "--format", "hh")
    assert "\n\nHuman: Ask" in other.out
    assert "as `sft` sees it in `hh`" in other.out


def test_a_pair_is_shown_as_chosen_and_rejected_of_which_the_answer_is_learned(project: BezoarProject) -> None:
    shown = project.bezoar("show", "dpo", "--row", "3")
    assert shown.status == 0, shown.err
    chosen, rejected = shown.out.split("pairs:3, ")[1:]
    assert chosen.startswith("as `dpo` sees it in `hh`, chosen\n--- prompt, not learned")
    assert "Gladly!" in chosen.partition("--- target, learned")[2]
    assert "leave me alone" in rejected.partition("--- target, learned")[2]
    assert [told for told, _ in marks(chosen)] == ["prompt, not learned", "target, learned"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["named", "--row", "9"], "`named` has no row 9"),
        (["named", "--row", "0"], "`--row 0` is no row"),
        (["named", "--row", "1", "--format", "hhh"], "unknown prompt format `hhh`"),
        (["whole", "--row", "1"], "row is no conversation"),
    ],
)
def test_what_cannot_be_shown_is_said(project: BezoarProject, arguments: list[str], message: str) -> None:
    ended = project.bezoar("show", *arguments)
    assert ended.status != 0
    assert message in ended.err


def test_on_a_terminal_the_prompt_is_grey_and_the_target_green_and_what_is_cut_off_struck_out(
    project: BezoarProject,
) -> None:
    terminal = BezoarProject(project.root, {"FORCE_COLOR": "1"})
    shown = terminal.bezoar("show", "named", "--row", "2", "--set", "steps.sft.max_length=120").out
    assert "\x1b[2;90m### System:" in shown
    assert "\x1b[32mThe answer is 1!" in shown
    assert "\x1b[9;31m" in shown
    assert "--- target" not in shown
