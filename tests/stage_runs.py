"""Training stages run on rows of the test's own, and the one question asked of them: did it learn?"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev

from bezoar_core.interfaces import Stage
from bezoar_core.parquet import write_rows
from bezoar_core.records import Adapter, Metrics, ModelDir, Row, RowsDir
from bezoar_core.types import DatasetRef, ModelRef
from bezoar_plugins.stages.dpo import Dpo
from bezoar_plugins.stages.kto import Kto
from bezoar_plugins.stages.sft import Sft

MODEL = ModelRef("start")
DATA = DatasetRef("rows")

_THINGS = (  # enough for a training and a held-out set
    *("rain", "bread", "maps", "bees", "chess", "paper", "tides", "wool", "salt", "clocks", "bridges", "tea", "glass"),
    *("owls", "soap", "kites", "coal", "violins", "ferns", "ink", "ropes", "mills", "lamps", "frogs", "sugar"),
    *("trains", "snow", "apples", "boats", "silk", "corn", "drums", "rivers", "stamps"),
)


def instructions(first: int, count: int) -> list[Row]:
    """Return rows as Evol-Instruct makes them."""
    return [
        {
            "instruction": f"Say in one sentence what is interesting about {thing}.",
            "response": f"People have worked with {thing} for a long time, and each place has its own way with it.",
        }
        for thing in _THINGS[first : first + count]
    ]


def preferences(first: int, count: int) -> list[Row]:
    """Return HH rows of two turns, whose chosen answers are kind and whose rejected ones are not."""
    opening = "\n\nHuman: May I ask you about {0}?\n\nAssistant: Of course.\n\nHuman: Tell me about {0}.\n\nAssistant: "
    return [
        {
            "chosen": opening.format(thing) + f"Gladly! A good book on {thing} is the place to begin. Shall we?",
            "rejected": opening.format(thing) + f"No. Look {thing} up yourself and leave me alone.",
        }
        for thing in _THINGS[first : first + count]
    ]


def tiny_sft(learning_rate: float = 1e-2) -> Sft:
    """Return SFT as it suits the tiny model."""
    return Sft(
        model=MODEL,
        data=DATA,
        heldout=DATA,
        quantise="nf4",
        max_steps=12,
        epochs=6,
        batch_size=4,
        gradient_accumulation=1,
        learning_rate=learning_rate,
    )


def tiny_dpo(learning_rate: float = 1e-2) -> Dpo:
    """Return DPO as it suits the tiny model."""
    return Dpo(
        model=MODEL,
        data=DATA,
        heldout=DATA,
        quantise="nf4",
        max_steps=12,
        epochs=6,
        batch_size=4,
        gradient_accumulation=1,
        learning_rate=learning_rate,
    )


def full_dpo(learning_rate: float = 3e-3) -> Dpo:
    """Return DPO of every weight as it suits the tiny model."""
    return replace(tiny_dpo(learning_rate), tune="full", quantise=None)


def tiny_kto(learning_rate: float = 1e-2) -> Kto:
    """Return KTO as it suits the tiny model."""
    return Kto(
        model=MODEL,
        data=DATA,
        heldout=DATA,
        quantise="nf4",
        max_steps=12,
        epochs=6,
        batch_size=4,
        gradient_accumulation=1,
        learning_rate=learning_rate,
    )


def full_kto(learning_rate: float = 3e-3) -> Kto:
    """Return KTO of every weight as it suits the tiny model."""
    return replace(tiny_kto(learning_rate), tune="full", quantise=None)


@dataclass(frozen=True)
class Trained:
    """A finished stage: its folder, its figures, and the model it made as the next stage is given it."""

    out: Path
    metrics: Metrics
    model: ModelDir
    logged: Sequence[tuple[int, int, Mapping[str, float]]]

    def heldout(self, column: str) -> list[float]:
        """Return a column of the held-out rows."""
        lines = (self.out / "heldout.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line)[column] for line in lines]


def train(
    stage: Stage,
    start: ModelDir,
    rows: Sequence[Row],
    heldout: Sequence[Row] | None,
    folder: Path,
    seed: int = 42,
    until: int | None = None,
) -> Trained:
    """Run a stage in `folder`, where one that was interrupted goes on; `Interrupted` comes at the step `until`."""
    out, work = folder / "out", folder / "work"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    work.mkdir(exist_ok=True)
    logged: list[tuple[int, int, Mapping[str, float]]] = []

    def log(step: int, total: int, figures: Mapping[str, float]) -> None:
        if until is not None and step >= until:
            raise Interrupted
        logged.append((step, total, dict(figures)))

    unseen = None if heldout is None else _rows_dir("heldout", heldout, folder)
    metrics = stage.train(start, _rows_dir("rows", rows, folder), unseen, out, work, log, seed)
    adapters = None if start.adapters is None else (*start.adapters, Adapter(step=folder.name, path=out / "adapter"))
    if not (out / "adapter").is_dir():
        adapters = None
    form = getattr(stage, "format", None) or start.format
    model = ModelDir(
        name=folder.name, path=out / "model", format=form, content=folder.name, base=start.base, adapters=adapters
    )
    return Trained(out, metrics, model, logged)


class Interrupted(Exception):
    """What stops a stage in the middle."""


def digests(folder: Path) -> dict[str, str]:
    """Return the sha256 of every file."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _rows_dir(name: str, rows: Sequence[Row], folder: Path) -> RowsDir:
    path = folder / f"{name}.parquet"
    write_rows(path, rows)
    return RowsDir(name=name, path=path, content=name, count=len(rows))


@dataclass
class Gradients:
    """Which trained tensors ever had a gradient, as the optimizer saw them."""

    tensors: set[int] = field(default_factory=set)
    moved: set[int] = field(default_factory=set)


@contextmanager
def watched_gradients() -> Iterator[Gradients]:
    """Look at every gradient before an optimizer uses it."""
    from torch.optim.optimizer import Optimizer, register_optimizer_step_pre_hook

    seen = Gradients()

    def look(optimizer: Optimizer, args: object, kwargs: object) -> None:
        for group in optimizer.param_groups:
            for tensor in group["params"]:
                seen.tensors.add(id(tensor))
                if tensor.grad is not None and bool(tensor.grad.any()):
                    seen.moved.add(id(tensor))

    hook = register_optimizer_step_pre_hook(look)
    try:
        yield seen
    finally:
        hook.remove()


def require_learned(gains: Sequence[float], gradients: Gradients) -> None:
    """Raise `AssertionError` unless rows gain more than twice the mean's standard error, with every gradient there."""
    mean, error = fmean(gains), stdev(gains) / sqrt(len(gains))
    assert mean > 2 * error, f"the mean gain a row is {mean:.4f}, its standard error {error:.4f}"
    assert gradients.tensors, "nothing was trained"
    assert gradients.moved == gradients.tensors, "some trained tensor never had a gradient"


def loss_gains(trained: Trained) -> list[float]:
    """Return by how much each held-out row's loss fell."""
    pairs = zip(trained.heldout("loss_before"), trained.heldout("loss_after"), strict=True)
    return [before - after for before, after in pairs]


def margin_gains(trained: Trained) -> list[float]:
    """Return by how much each held-out pair's margin rose."""
    pairs = zip(trained.heldout("margin_before"), trained.heldout("margin_after"), strict=True)
    return [after - before for before, after in pairs]


def kto_gains(trained: Trained) -> list[float]:
    """Return by how much each held-out pair's margin rose, from the lines of its two answers."""
    good, bad = trained.heldout("desirable")[::2], trained.heldout("desirable")[1::2]
    assert all(good) and not any(bad)
    moved = [after - before for before, after in zip(trained.heldout("before"), trained.heldout("after"), strict=True)]
    return [chosen - rejected for chosen, rejected in zip(moved[::2], moved[1::2], strict=True)]


@dataclass(frozen=True)
class Chain:
    """base -> sft -> orca -> hh-sft -> dpo, and the gradients of each."""

    base: ModelDir
    sft: Trained
    orca: Trained
    hh: Trained
    dpo: Trained
    gradients: dict[str, Gradients]
