"""No prompt file lies beside the code unused, and each of its slots is said what for."""

from __future__ import annotations

from pathlib import Path

import pytest

import bezoar_plugins.judges
import bezoar_plugins.schemes
from bezoar_core.prompts import Prompt
from bezoar_plugins.judges.human_proxy import HumanProxy
from bezoar_plugins.schemes.evol_instruct import EvolInstruct
from bezoar_plugins.schemes.lamini import LaMini
from bezoar_plugins.schemes.orca import Orca

PLUGINS = (LaMini, EvolInstruct, Orca, HumanProxy)
PROMPTS = [prompt for plugin in PLUGINS for prompt in plugin.prompts]
FOLDERS = (
    Path(bezoar_plugins.schemes.__path__[0]) / "prompts",
    Path(bezoar_plugins.judges.__path__[0]) / "prompts" / "human_proxy",
)


def test_every_file_is_a_prompt_of_a_plugin() -> None:
    files = {
        path.relative_to(folder.parents[folder.parts[::-1].index("prompts")]).as_posix()
        for folder in FOLDERS
        for path in folder.rglob("*")
        if path.is_file()
    }
    assert files == {prompt.path for prompt in PROMPTS}
    assert len(files) == 14


@pytest.mark.parametrize("prompt", PROMPTS, ids=lambda prompt: prompt.path)
def test_slots_are_described_and_filled_once(prompt: Prompt) -> None:
    assert all(len(text) > 10 for text in prompt.slots.values())
    filled = prompt.fill(**{slot: f"{{{{{slot}}}}}-filled" for slot in prompt.slots})
    for slot in prompt.slots:
        assert f"{{{{{slot}}}}}-filled" in filled, "what fills a slot is not read again"
    with pytest.raises(ValueError, match="wants"):
        prompt.fill(**dict.fromkeys(prompt.slots, "x"), another="x")
