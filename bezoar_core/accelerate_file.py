"""A file of `accelerate config`: what it asks for that no stage knows is found before any work."""

from __future__ import annotations

from pathlib import Path

import yaml

_OTHERS = {"DEEPSPEED": "DeepSpeed", "MEGATRON_LM": "Megatron-LM"}
_TIP = "what shards a model here is FSDP2: `distributed_type: FSDP`, and `fsdp_version: 2` in `fsdp_config`"


def unsupported(path: Path) -> tuple[str, str] | None:
    """Return what is wrong with the file and what to do; None where nothing is, or where it cannot be opened."""
    try:
        read = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError:
        return None
    except (yaml.YAMLError, UnicodeDecodeError):
        read = None
    if not isinstance(read, dict):
        return (
            f"`{path.name}` is no file of `accelerate config`",
            "write one with `accelerate config --config_file FILE`",
        )
    kind = read.get("distributed_type")
    if kind in _OTHERS:
        return f"`{path.name}` asks for {_OTHERS[kind]}, which is not supported", _TIP
    if read.get("parallelism_config"):
        return f"`{path.name}` has a `parallelism_config`, which is not supported", _TIP
    settings = read.get("fsdp_config")
    if kind == "FSDP" and not (isinstance(settings, dict) and settings.get("fsdp_version") == 2):
        return f"`{path.name}` asks for FSDP1, which is not supported", _TIP
    return None
