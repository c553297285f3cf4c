from __future__ import annotations

from pathlib import Path

import pytest

from bezoar_core import workers
from bezoar_core.provenance import accelerator_visible
from bezoar_core.workers import Workers, step_environment


@pytest.mark.parametrize(
    ("devices", "environ", "visible"),
    [
        ([], {}, False),
        (["tty", "null"], {}, False),
        (["nvidia0", "nvidiactl"], {}, True),
        (["kfd"], {}, True),
        (["nvidia0"], {"CUDA_VISIBLE_DEVICES": ""}, False),
        (["nvidia0"], {"CUDA_VISIBLE_DEVICES": "0"}, True),
    ],
)
def test_an_accelerator_is_seen_without_importing_torch(
    tmp_path: Path, devices: list[str], environ: dict[str, str], visible: bool
) -> None:
    for name in devices:
        (tmp_path / name).touch()
    assert accelerator_visible(tmp_path, environ) is visible


@pytest.mark.parametrize("visible", [True, False])
async def test_no_step_is_forked_where_an_accelerator_is_visible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, visible: bool
) -> None:
    monkeypatch.setattr(workers, "accelerator_visible", lambda: visible)
    pool = Workers(tmp_path)
    try:
        await pool.warm_up()
        assert (pool._server is None) is visible
        spec = tmp_path / "no-such-order.json"
        status = await pool.run(spec, tmp_path / "step.log", local=True)
        assert status == 1
        log = (tmp_path / "step.log").read_text()
        assert "no-such-order.json" in log
        assert ("warm.py" in log) is not visible
    finally:
        await pool.close()


def test_idle_threads_sleep_unless_the_user_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    assert step_environment()["OMP_WAIT_POLICY"] == "passive"
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    assert step_environment()["OMP_WAIT_POLICY"] == "active"
