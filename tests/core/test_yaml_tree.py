from __future__ import annotations

from pathlib import Path

import pytest

from bezoar_core.errors import ConfigError
from bezoar_core.yaml_tree import Tree, apply_profile, apply_set, expand, read_tree, variables


def tree(tmp_path: Path, text: str) -> Tree:
    path = tmp_path / "registry.yaml"
    path.write_text(text, encoding="utf-8")
    return read_tree(path)


def test_every_value_knows_its_line_and_column(tmp_path: Path) -> None:
    found = tree(tmp_path, "a:\n  b: 1\n  c: [x, {d: 2}]\n")
    assert found.data == {"a": {"b": 1, "c": ["x", {"d": 2}]}}
    assert found.place(("a", "b")) == "registry.yaml:2:3"
    assert found.place(("a", "c", 1, "d")) == "registry.yaml:3:11"
    assert found.place(("a", "nowhere")) == "registry.yaml:1:1"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3e-4", 3e-4),
        ("1e5", 1e5),
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("2026-01-01", "2026-01-01"),
        ("~", None),
        ("1:30", "1:30"),
        ("010", "010"),
        ("-7", -7),
        ("+.5", 0.5),
    ],
)
def test_scalars_are_those_of_yaml_1_2(tmp_path: Path, text: str, value: object) -> None:
    assert tree(tmp_path, f"a: {text}\n").data == {"a": value}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2\n", "registry.yaml:2:1: `a` is given twice"),
        ("a: [1\n", "not YAML"),
        ("- 1\n", "must be a mapping"),
        ("a: !!binary aGk=\n", "neither text, number"),
        ("a: 1e400\n", "not a finite number"),
        ("a: &x [*x]\n", "an alias stands inside"),
        ("a: !mine 1\n", "registry.yaml:1:4: `1` is neither text, number"),
        ("a: !!int x\n", "neither text, number"),
        ("a: !!bool x\n", "neither text, number"),
        ("a: !!timestamp x\n", "neither text, number"),
        ("a: 9223372036854775808\n", "more than 64 bits"),
        pytest.param(f"a: {'9' * 5000}\n", "`9{60}[.]{3}` is neither", id="5000 digits"),
        ("? [a]\n: 1\n", "registry.yaml:1:3: a list or a mapping cannot be a key"),
        ("a: &x {b: 1}\nc:\n  <<: *x\n", "registry.yaml:3:3: `<<` merges nothing here"),
        ('a: "\\ud800"\n', "is no Unicode text"),
        ('"\\ud800": 1\n', "is no Unicode text"),
        ("a: 1\nb: \x01\n", "registry.yaml:2:4: not YAML: the character U[+]0001"),
        pytest.param(f"a: {'[' * 60}{']' * 60}\n", "more than 50 levels", id="60 levels"),
        pytest.param("[" * 3000, "more than 50 levels", id="3000 levels"),
    ],
)
def test_what_is_no_registry_is_refused_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match="(?s)" + message.replace("(", r"\(")):
        tree(tmp_path, text)


def test_an_empty_file_is_a_place(tmp_path: Path) -> None:
    assert tree(tmp_path, "# nothing\n").place(("name",)) == "registry.yaml:1:1"


@pytest.mark.parametrize("assignment", ["a..b=1", ".=1", "a.=1", "a=!mine 1", f"a={'[' * 3000}"], ids=range(5))
def test_a_set_that_cannot_be_is_a_fault(tmp_path: Path, assignment: str) -> None:
    with pytest.raises(ConfigError):
        apply_set(tree(tmp_path, "a: {b: 1}\n"), assignment)


def test_what_a_set_adds_has_its_place_there(tmp_path: Path) -> None:
    added = apply_set(tree(tmp_path, "steps: {s: {use: lamini}}\n"), "steps.t.count=5")
    assert added.place(("steps", "t", "use")) == "--set steps.t.count=5"


def test_a_missing_or_binary_file_is_an_error_not_a_traceback(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_tree(tmp_path / "none.yaml")
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not UTF-8"):
        read_tree(tmp_path / "b.yaml")


PROFILED = """\
steps:
  s: {use: lamini, count: 8, topics: [a, b]}
  t: {use: sft, rank: 16}
  u: {use: orca}
profiles:
  small:
    steps:
      s: {count: 2, topics: [c]}
      t: {use: dpo, beta: 0.1}
      u: null
"""


def test_a_profile_merges_replaces_and_removes(tmp_path: Path) -> None:
    merged = apply_profile(tree(tmp_path, PROFILED), "small")
    assert merged.data["steps"] == {
        "s": {"use": "lamini", "count": 2, "topics": ["c"]},
        "t": {"use": "dpo", "beta": 0.1},
    }
    assert merged.place(("steps", "s", "count")) == "registry.yaml:8:11"
    assert merged.place(("steps", "s", "use")) == "registry.yaml:2:7"
    assert merged.place(("steps", "t", "beta")) == "registry.yaml:9:21"


def test_an_unknown_profile_is_named_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown profile `smal` .*`small`"):
        apply_profile(tree(tmp_path, PROFILED), "smal")


def test_set_changes_one_value_and_is_its_place(tmp_path: Path) -> None:
    changed = apply_set(tree(tmp_path, PROFILED), "steps.s.count=50")
    assert changed.data["steps"]["s"]["count"] == 50  # type: ignore[index,call-overload]
    assert changed.place(("steps", "s", "count")) == "--set steps.s.count=50"
    for wrong in ("steps.s.count", "steps.s.count.x=1", "=3"):
        with pytest.raises(ConfigError):
            apply_set(changed, wrong)


def test_variables_are_found_and_expanded_only_where_set() -> None:
    value = {"a": ["${ONE}/x", {"b": "${TWO}"}], "c": 3}
    assert sorted(variables(value)) == ["ONE", "TWO"]  # type: ignore[arg-type]
    assert expand(value, {"ONE": "1"}) == {"a": ["1/x", {"b": "${TWO}"}], "c": 3}  # type: ignore[arg-type]
