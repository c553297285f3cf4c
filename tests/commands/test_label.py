"""`bezoar label`, by the real command line: from a judged step to a sheet, back, and into the next run."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from pyarrow.parquet import read_table

from bezoar_core.testing import BezoarProject

REGISTRY = """
bezoar: 1
name: labelling
models:
  judge:
    client: echo
    rules:
      - {when: zebra, reply: "Status: Accept\\nRating: 8\\nReason: Verdictly."}
      - {when: lemur, reply: "I would rather not say."}
    replies: ["Status: Reject\\nRating: 2\\nReason: Verdictly."]
datasets:
  mine: {source: "file:mine.jsonl"}
judges:
  proxy: {use: human-proxy, model: judge}
steps:
  first: {use: select, data: mine, first: 30}
  kept: {use: judged, judge: proxy, data: first}
"""
ROWS = [
    {"instruction": f"Name animal {n}.", "response": "a zebra" if n < 20 else "a lemur" if n > 27 else "=a stone"}
    for n in range(30)
]
HIDDEN = ("Accept", "Reject", "Verdictly", "proxy", "rejected")


@pytest.fixture
def project(bezoar_project: BezoarProject) -> BezoarProject:
    bezoar_project.write("registry.yaml", REGISTRY)
    bezoar_project.rows("mine.jsonl", ROWS)
    ended = bezoar_project.bezoar("run")
    assert ended.status == 0, ended.err
    return bezoar_project


def sheet(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def fill_in(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_a_sheet_holds_both_kinds_of_rows_and_no_verdict(project: BezoarProject) -> None:
    ended = project.bezoar("label", "kept", "--rows", "12")
    assert ended.status == 0, ended.err
    assert "kept-labels.csv: 12 rows; the judge accepted 6 of them and rejected 6" in ended.out
    assert "bezoar label kept registry.yaml --read kept-labels.csv" in ended.out
    text = (project.root / "kept-labels.csv").read_text("utf-8-sig")
    assert not [word for word in HIDDEN if word in text]
    rows = sheet(project.root / "kept-labels.csv")
    assert sum(row["response"] == "a zebra" for row in rows) == 6
    assert sum(row["response"] == "'=a stone" for row in rows) == 6
    assert [row["response"] for row in rows] != sorted(row["response"] for row in rows), "their order tells nothing"
    assert {(row["label"], row["author"], row["note"]) for row in rows} == {("", "", "")}

    assert project.bezoar("label", "kept", "--rows", "12", "--out", "again.csv").status == 0
    assert (project.root / "again.csv").read_bytes() == (project.root / "kept-labels.csv").read_bytes()
    assert project.bezoar("label", "kept", "--rows", "12", "--seed", "1", "--out", "other.csv").status == 0
    assert {row["row"] for row in sheet(project.root / "other.csv")} != {row["row"] for row in rows}
    many = project.bezoar("label", "kept", "--rows", "99", "--out", "many.csv")
    assert "28 rows; the judge accepted 20 of them and rejected 8" in many.out, "what had no verdict is left out"


def test_labels_decide_and_tell_how_far_the_judge_agrees(project: BezoarProject) -> None:
    project.bezoar("label", "kept", "--rows", "12")
    path = project.root / "kept-labels.csv"
    rows = sheet(path)
    for number, row in enumerate(sorted(rows, key=lambda row: row["response"])):
        right = row["response"] == "a zebra"
        # two of either kind are seen otherwise; one is left empty
        row["label"] = "" if number == 11 else "accept" if right != (number in (0, 1, 6, 7)) else "reject"
        row["author"], row["note"] = "Ada", "seen" if number == 6 else ""
    fill_in(path, rows)
    ended = project.bezoar("label", "kept", "--read", "kept-labels.csv")
    assert ended.status == 0, ended.err
    assert "labels: 11; rows left empty: 1; added to labels/kept.jsonl: 11" in ended.out
    assert "set `labels: labels/kept.jsonl` at `kept` in registry.yaml" in ended.out
    assert "kept.jsonl: 0\n" in project.bezoar("label", "kept", "--read", "kept-labels.csv").out

    project.write("registry.yaml", REGISTRY.replace("data: first}", "data: first, labels: labels/kept.jsonl}"))
    assert project.bezoar("run").status == 0
    folder = max((project.root / ".bezoar" / "artifacts").glob("kept-*"), key=lambda p: p.stat().st_mtime_ns)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["cost"]["replayed"] == manifest["cost"]["requests"] > 0
    metrics = manifest["metrics"]
    assert (metrics["labelled"], metrics["overruled"]) == (11, 4)
    assert metrics["agreement"] == pytest.approx(7 / 11) and metrics["kappa_low"] < metrics["kappa"]
    assert manifest["counts"]["dropped"] == {"judge_unparsed": 2, "rejected": 2, "rejected_by_person": 6}
    kept = read_table(folder / "rows.parquet").to_pylist()
    mine = [row for row in kept if row["proxy_status"] == "Reject"]
    assert [(row["label"], row["label_author"]) for row in mine] == [("accept", "Ada")] * 2
    assert {row["label_author"] for row in kept if row["label"] is None} == {None}
    dropped = read_table(folder / "dropped.parquet").to_pylist()
    overruled = [row for row in dropped if row["drop_reason"] == "rejected_by_person" and row["drop_detail"]]
    assert [(row["proxy_status"], row["drop_detail"]) for row in overruled] == [("Accept", "seen")]

    project.bezoar("label", "kept", "--rows", "99", "--out", "rest.csv")
    assert len(sheet(project.root / "rest.csv")) == 28 - 11, "what is labelled is not asked for again"

    name = project.root / "labels" / "kept.jsonl"
    name.write_text(name.read_text().replace('"accept"', '"reject"', 1))
    assert "run" in next(line for line in project.bezoar("plan").out.splitlines() if line.startswith("kept"))


def test_what_cannot_be_done_is_said(project: BezoarProject) -> None:
    for arguments, message in (
        (["first"], "`first` gives no verdicts that people could check\n  tip: known: `kept`"),
        (["kpet"], "`kpet` is no step\n  tip: did you mean `kept`?"),
        (["kept", "--rows", "0"], "`--rows` is 0: write 1 or more"),
        (["kept", "--read", "no.csv"], "`no.csv` does not exist"),
        (["kept", "--out", "mine.jsonl"], "`mine.jsonl` exists already"),
        (["kept", "--read", "registry.yaml"], "registry.yaml:2: no column `row`, `label`, `author`"),
    ):
        ended = project.bezoar("label", *arguments)
        assert ended.status in (1, 2) and message in ended.err and "Traceback" not in ended.err
    assert (project.root / "mine.jsonl").read_text().count("\n") == len(ROWS)
    assert not (project.root / "labels").exists()


def test_a_step_that_is_not_made_has_no_rows_to_label(bezoar_project: BezoarProject) -> None:
    bezoar_project.write("registry.yaml", REGISTRY)
    bezoar_project.rows("mine.jsonl", ROWS)
    assert "`kept` is not made" in bezoar_project.bezoar("label", "kept").err
    assert "`kept` is not made" in bezoar_project.bezoar("label", "kept", "--read", "mine.jsonl").err
