"""For plugin authors' tests: a scripted model, a project with the real command line, a contract for every kind.

In `conftest.py`: `pytest_plugins = ["bezoar_core.testing"]`.
"""

from __future__ import annotations

import dataclasses
import inspect
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import pytest

from bezoar_core.errors import RequestFailed
from bezoar_core.fields import marks
from bezoar_core.interfaces import Benchmark, Client, Filter, Judge, Scheme, Stage
from bezoar_core.plugins import FIELDS, Kind, Owned, prompts_of
from bezoar_core.records import Completion, Message, Request, Sampling
from bezoar_core.types import ModelRef

Reply = str | Completion | RequestFailed

_DEFAULT = Sampling()


@dataclass
class ScriptedAsk:
    """An `Ask` that answers from a function and remembers what it was asked."""

    answer: Callable[[Request], Reply]
    requests: list[tuple[str, Request]] = field(default_factory=list)

    async def __call__(
        self,
        model: ModelRef,
        messages: Sequence[Message],
        *,
        sampling: Sampling = _DEFAULT,
        stop: Sequence[str] = (),
        prefill: str = "",
        format: str | None = None,
        choices: Sequence[str] = (),
        sample: int = 0,
    ) -> Completion:
        """Return the scripted reply; a scripted `RequestFailed` is raised."""
        request = Request(
            messages=tuple(messages),
            sampling=sampling,
            stop=tuple(stop),
            prefill=prefill,
            format=format,
            choices=tuple(choices),
            sample=sample,
        )
        self.requests.append((model.name, request))
        reply = self.answer(request)
        if isinstance(reply, RequestFailed):
            raise reply
        return Completion(text=reply, model=model.name) if isinstance(reply, str) else reply


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str


@dataclass(frozen=True)
class BezoarProject:
    """A folder with a registry, and the real command line in it, each call in its own process."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)

    def write(self, name: str, text: str) -> Path:
        """Write a file of the project."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def rows(self, name: str, rows: Sequence[object]) -> Path:
        """Write rows as JSON lines."""
        return self.write(name, "".join(orjson.dumps(row).decode() + "\n" for row in rows))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start `bezoar` and leave it running, in a process group of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "bezoar_core.cli", *arguments],
            cwd=self.root,
            env={**os.environ, **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=_interruptible,
        )

    def bezoar(self, *arguments: str) -> Ended:
        """Run `bezoar` to its end."""
        process = self.start(*arguments)
        out, err = process.communicate()
        return Ended(process.returncode, out, err)


def _interruptible() -> None:
    """Take Ctrl-C as a terminal's programs do, though the tests themselves may run where it is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def bezoar_project(tmp_path: Path) -> Iterator[BezoarProject]:
    """Give an empty project in a temporary folder."""
    yield BezoarProject(tmp_path)


KINDS: dict[Kind, type] = {
    "scheme": Scheme,
    "filter": Filter,
    "judge": Judge,
    "stage": Stage,
    "benchmark": Benchmark,
    "client": Client,
}


def check_contract(owned: Owned) -> None:
    """Check what every plugin of a kind must keep to; raises `AssertionError` with what it does not."""
    cls = owned.cls
    assert dataclasses.is_dataclass(cls), f"{cls} is no dataclass"
    assert (cls.__doc__ or "").strip(), f"{cls} says nothing about itself"
    assert isinstance(owned.version, int) and owned.version >= 1, f"{cls}.version must be 1 or more"
    protocol = KINDS[owned.kind]
    methods = [name for name, member in vars(protocol).items() if inspect.isfunction(member) and name[0] != "_"]
    for name in methods:
        expected = list(inspect.signature(getattr(protocol, name)).parameters)
        actual = list(inspect.signature(getattr(cls, name)).parameters)
        assert actual == expected, f"{cls}.{name} takes {actual}, the protocol {expected}"
    assert set(marks(cls)) == {f.name for f in dataclasses.fields(cls)}, f"{cls} has a field without a type"
    for prompt in prompts_of(cls):
        assert prompt.text.strip(), f"{prompt.path} is empty"
        filled = prompt.fill(**dict.fromkeys(prompt.slots, "x"))
        assert "{{" not in filled, f"{prompt.path} leaves a slot open"
    assert set(FIELDS[owned.kind]) <= set(marks(cls)), f"{cls} needs the fields {FIELDS[owned.kind]}"
