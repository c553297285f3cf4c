"""What a file of `accelerate config` asks for is known, or refused where the registry is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from bezoar_core.accelerate_file import unsupported
from bezoar_core.testing import BezoarProject


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("distributed_type: MULTI_GPU\n", None),
        ("distributed_type: FSDP\nfsdp_config: {fsdp_version: 2}\n", None),
        ("distributed_type: FSDP\nfsdp_config: {fsdp_version: 2}\nparallelism_config: {}\n", None),
        ("distributed_type: FSDP\nfsdp_config: {fsdp_version: 1}\n", "asks for FSDP1, which is not supported"),
        ("distributed_type: FSDP\n", "asks for FSDP1, which is not supported"),
        ("distributed_type: DEEPSPEED\n", "asks for DeepSpeed, which is not supported"),
        ("distributed_type: MEGATRON_LM\n", "asks for Megatron-LM, which is not supported"),
        (
            "distributed_type: FSDP\nfsdp_config: {fsdp_version: 2}\nparallelism_config: {tp_size: 2}",
            "has a `parallelism_config`, which is not supported",
        ),
        ("- 1\n", "is no file of `accelerate config`"),
        ("a: [", "is no file of `accelerate config`"),
    ],
)
def test_what_is_not_supported_is_named(text: str, wanted: str | None, tmp_path: Path) -> None:
    path = tmp_path / "accelerate.yaml"
    path.write_text(text, encoding="utf-8")
    found = unsupported(path)
    assert (found and found[0]) == (wanted and f"`accelerate.yaml` {wanted}")


def test_a_file_that_is_not_there_is_somebody_else_s_to_report(tmp_path: Path) -> None:
    assert unsupported(tmp_path / "none.yaml") is None


def test_it_is_a_fault_of_the_registry_with_its_place(tmp_path: Path) -> None:
    made = BezoarProject(tmp_path)
    made.write("accelerate.yaml", "distributed_type: DEEPSPEED\n")
    made.rows("rows.jsonl", [{"instruction": "Why?", "response": "So."}])
    made.write("model/config.json", "{}")
    made.write(
        "registry.yaml",
        """bezoar: 1
name: deepspeed
models:
  base: {source: "file:model", format: openbezoar, licence: apache-2.0}
datasets:
  texts: {source: "file:rows.jsonl", licence: apache-2.0}
steps:
  sft:
    use: sft
    model: base
    data: texts
    processes: 2
    accelerate_config: accelerate.yaml
""",
    )
    ended = made.bezoar("check")
    assert ended.status == 2, ended.err
    assert "registry.yaml:13:5: `accelerate.yaml` asks for DeepSpeed, which is not supported" in ended.err
    assert "what shards a model here is FSDP2: `distributed_type: FSDP`" in ended.err
