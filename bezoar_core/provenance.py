"""What made an artifact: package versions and hardware."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bezoar_core.types import Json

RECORDED = {
    "accelerate": "accelerate",
    "aiohttp": "aiohttp",
    "bitsandbytes": "bitsandbytes",
    "datasets": "datasets",
    "lm_eval": "lm_eval",
    "peft": "peft",
    "pyarrow": "pyarrow",
    "tokenizers": "tokenizers",
    "torch": "torch",
    "transformers": "transformers",
    "trl": "trl",
}


def versions(*distributions: str) -> dict[str, str]:
    """Return the versions of Python, Bezoar, `distributions`, and the libraries this process has loaded."""
    found = {"python": platform.python_version()}
    for name in ("bezoar", *distributions, *_loaded()):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return dict(sorted(found.items()))


def _loaded() -> Iterator[str]:
    yield from (name for module, name in RECORDED.items() if module in sys.modules)


def hardware() -> dict[str, Json]:
    """Return the machine's processor, cores and, where torch is loaded and sees one, its accelerator."""
    found: dict[str, Json] = {"cpu": _processor(), "cores": len(os.sched_getaffinity(0)), "system": platform.system()}
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name(0)
    return found


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.machine()


def accelerator_visible(devices: Path = Path("/dev"), environ: os._Environ[str] | dict[str, str] = os.environ) -> bool:
    """Say whether a GPU may be used, without importing torch: where one is, no process is forked."""
    if environ.get("CUDA_VISIBLE_DEVICES", "unset") in {"", "-1"}:
        return False
    if not devices.is_dir():
        return False
    return any(p.name.startswith(("nvidia0", "nvidiactl", "kfd", "dxg")) for p in devices.iterdir())


def gpu_usable() -> bool:
    """Say whether a stage would train on a GPU here; torch is imported where one is in sight."""
    if not accelerator_visible():
        return False
    import torch

    return bool(torch.cuda.is_available())


def free_memory(gpu: bool, meminfo: Path = Path("/proc/meminfo")) -> int | None:
    """Return the bytes free on the GPU, or of this machine's memory, or None where nobody says."""
    if gpu:
        import torch

        return int(torch.cuda.mem_get_info()[0])
    try:
        lines = meminfo.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)
