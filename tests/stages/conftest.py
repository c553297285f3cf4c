"""A chain of four stages on the tiny model, trained once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from local_models import TINY, local_model
from stage_runs import (
    Chain,
    Gradients,
    Trained,
    instructions,
    preferences,
    tiny_dpo,
    tiny_sft,
    train,
    watched_gradients,
)

from bezoar_core.records import ModelDir
from bezoar_plugins.stages.dpo import Dpo
from bezoar_plugins.stages.sft import Sft


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ignored = (
        # peft asks transformers for a property by its former name
        pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
        # on a GPU: the tiny model's layers are too narrow for bitsandbytes' quickest kernel
        pytest.mark.filterwarnings("ignore:inner dimension .* is not aligned for fast kernel:UserWarning"),
    )
    for item in items:
        if Path(__file__).parent in item.path.parents:
            for mark in ignored:
                item.add_marker(mark)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Keep torch to one thread: two only wait for one another over a model this small."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny(cache: object) -> ModelDir:
    """Return the tiny model with random weights, prompted in OpenBezoar's form."""
    return local_model(TINY, "openbezoar")


@pytest.fixture(scope="session")
def chain(tiny: ModelDir, tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """Train the chain."""
    folder = tmp_path_factory.mktemp("chain")
    gradients: dict[str, Gradients] = {}

    def run(name: str, stage: Sft | Dpo, start: ModelDir, hh: bool) -> Trained:
        rows = preferences if hh else instructions
        with watched_gradients() as gradients[name]:
            return train(stage, start, rows(0, 10), rows(10, 24), folder / name)

    sft = run("sft", tiny_sft(), tiny, hh=False)
    orca = run("orca", tiny_sft(learning_rate=3e-3), sft.model, hh=False)
    hh = run("hh", tiny_sft(), orca.model, hh=True)
    dpo = run("dpo", tiny_dpo(), hh.model, hh=True)
    return Chain(tiny, sft, orca, hh, dpo, gradients)
