from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from bezoar_core.errors import BezoarError
from bezoar_core.lockfile import read_lock
from bezoar_core.run_lock import run_lock
from bezoar_core.store import Artifact, Input, Manifest, Store, hash_files, publish, read_manifest


def manifest(fingerprint: str) -> Manifest:
    return Manifest(
        step="s",
        kind="scheme",
        plugin={"name": "lamini"},
        fingerprint=fingerprint,
        config={"count": 2},
        seed=1,
        inputs=(Input(field="seeds", name="dolly", kind="source", content="abc"),),
        output={"kind": "rows", "content": "def"},
    )


def make(store: Store, node: str, fingerprint: str, text: str) -> Artifact:
    partial = store.begin(node, fingerprint)
    (partial / "deep").mkdir()
    (partial / "deep" / "file.txt").write_text(text)
    return publish(partial, manifest(fingerprint))


def test_an_artifact_is_whole_or_not_there(tmp_path: Path) -> None:
    store = Store(tmp_path / "artifacts")
    fingerprint = "f" * 64
    partial = store.begin("s", fingerprint)
    (partial / "rows.parquet").write_text("half")
    assert store.get("s", fingerprint) is None
    made = make(store, "s", fingerprint, "whole")
    found = store.get("s", fingerprint)
    assert found == made
    assert found is not None and found.manifest.inputs[0].name == "dolly"
    assert sorted(p.name for p in made.path.rglob("*")) == ["deep", "file.txt", "manifest.json"]


def test_an_artifact_made_again_replaces_the_old_one(tmp_path: Path) -> None:
    store = Store(tmp_path)
    make(store, "s", "f" * 64, "old")
    made = make(store, "s", "f" * 64, "new")
    assert (made.path / "deep" / "file.txt").read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == [made.path.name]


def test_history_is_newest_first_and_of_one_node_only(tmp_path: Path) -> None:
    import os

    store = Store(tmp_path)
    for number, mark in enumerate(("a", "b", "c")):
        made = make(store, "s", mark * 64, mark)
        os.utime(made.path, (number, number))
    make(store, "s-kept", "a" * 64, "other")
    assert [a.manifest.fingerprint[0] for a in store.history("s")] == ["c", "b", "a"]


def test_a_damaged_manifest_is_named(tmp_path: Path) -> None:
    for text in ("{", "[]", "null", '{"inputs": [1]}', '{"inputs": []}'):
        (tmp_path / "manifest.json").write_text(text)
        with pytest.raises(BezoarError, match="damaged"):
            read_manifest(tmp_path)


def test_a_file_in_the_place_of_an_artifact_is_none(tmp_path: Path) -> None:
    (tmp_path / "made").write_text("")
    assert read_manifest(tmp_path / "made") is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"sources": {}}',
        '{"sources": [], "packages": {}, "judges": {}}',
        '{"sources": {"pypi:a==1": "x"}, "packages": {}, "judges": {}}',
        '{"sources": {}, "packages": {}, "judges": null}',
    ],
)
def test_a_lock_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bezoar.lock"
    path.write_text(text)
    with pytest.raises(BezoarError, match=r"bezoar\.lock: is no lock file"):
        read_lock(path)


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / ".bezoar").write_text("")
    with pytest.raises(BezoarError, match=r"\.bezoar: cannot be written"), run_lock(tmp_path / ".bezoar"):
        pass


def test_the_hash_of_files_leaves_the_manifest_out(tmp_path: Path) -> None:
    made = make(Store(tmp_path), "s", "f" * 64, "text")
    assert list(hash_files(made.path)) == ["deep/file.txt"]
    assert orjson.loads((made.path / "manifest.json").read_bytes())["config"] == {"count": 2}


def test_one_run_at_a_time_and_the_holder_is_named(tmp_path: Path) -> None:
    import os

    with run_lock(tmp_path), pytest.raises(BezoarError, match=f"process {os.getpid()}"), run_lock(tmp_path):
        pass
    with run_lock(tmp_path):
        pass
