"""A step in several processes: a launcher starts them, they train as one, and the first publishes."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import NoReturn

from bezoar_core.errors import StepFailed
from bezoar_core.spec import StepSpec

LAUNCHED = "--launched"
"""What a launcher gives each process, beside the work order."""

_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Rank:
    """Which of a step's processes this is: 0 is the first."""

    number: int = 0
    of: int = 1


def become_launcher(spec_path: str, spec: StepSpec) -> NoReturn:
    """Replace this process by the launcher of `spec.processes`: accelerate's where it has a file to read, else torch's.

    Whoever waits for this process, or kills it, has the launcher instead.
    """
    count = str(spec.processes)
    if spec.accelerate_config:
        launcher = ["accelerate.commands.launch", "--config_file", spec.accelerate_config]
        launcher += ["--num_machines", "1", "--num_processes", count]
    else:
        launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", count]
    alone()
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-m", *launcher, "-m", "bezoar_core.step", spec_path, LAUNCHED])


def rank_of(spec: StepSpec) -> Rank:
    """Return which process this is; raise `StepFailed` where the launcher started another number of them.

    A launcher that falls back to one process would train on a fraction of the batch, and nobody would know.
    """
    rank = Rank(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))
    if rank.of != spec.processes:
        raise StepFailed(
            f"the launcher started {rank.of} processes, and `processes` is {spec.processes}",
            where=f"steps.{spec.step}",
            tip="see the log for what it says, and the file that `accelerate_config` names",
        )
    return rank


def alone() -> None:
    """Forget what a launcher around the whole run has set, or libraries would wait for processes that never come."""
    for name in _VARIABLES:
        os.environ.pop(name, None)
