from __future__ import annotations

from pathlib import Path

import pytest

from bezoar_core.memory import in_words, shortage
from bezoar_core.provenance import free_memory
from bezoar_core.records import Memory


def memory(weights: int, activations: int) -> Memory:
    return Memory(
        device="cpu",
        weights=weights,
        gradients=1,
        optimizer=2,
        activations=activations,
        working=3,
        merging=4,
        compared=True,
    )


def test_too_little_memory_is_a_warning_and_an_error_where_weights_alone_do_not_fit() -> None:
    assert shortage("sft", memory(1000, 3000), 4006) is None
    assert shortage("sft", memory(1000, 3000), None) is None
    assert shortage("sft", memory(1024, 3072), 2048) == (
        "warning",
        "step `sft` takes about 4.01 KiB, and 2 KiB are free: lower `batch_size` or `max_length`",
    )
    assert shortage("sft", memory(4096, 0), 2048) == (
        "error",
        "step `sft` takes about 4.01 KiB, its weights alone 4 KiB, and 2 KiB are free",
    )


@pytest.mark.parametrize(
    ("size", "words"), [(0, "0 B"), (999, "999 B"), (1024, "1 KiB"), (5 << 20, "5 MiB"), (78 << 30, "78 GiB")]
)
def test_bytes_are_said_in_a_unit_that_suits(size: int, words: str) -> None:
    assert in_words(size) == words


def test_free_memory_is_what_the_kernel_says_is_available(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:  16384 kB\nMemFree:  1 kB\nMemAvailable:   8192 kB\n")
    assert free_memory(False, meminfo) == 8192 * 1024
    assert free_memory(False, tmp_path / "none") is None
