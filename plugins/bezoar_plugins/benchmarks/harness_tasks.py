"""The harness's tasks, found by name and loaded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from bezoar_core.errors import BezoarError, DataError, nearest
from bezoar_core.records import Item

if TYPE_CHECKING:
    from lm_eval.api.group import Group
    from lm_eval.api.task import Task
    from lm_eval.tasks import TaskManager
    from lm_eval.tasks._index import Entry

WHERE = "lm-eval"
_REFUSED = {"UNSAFE_CODE": "runs code that the model writes", "MULTIMODAL": "shows the model pictures"}


def task_manager(include_path: str | None, names: Sequence[str]) -> TaskManager:
    """Return an index that has `names`: of `include_path` alone where that will do, since the whole takes seconds."""
    from lm_eval.tasks import TaskManager

    if include_path is not None:
        if not Path(include_path).is_dir():
            raise DataError("`include_path` is no folder", where=include_path, tip="name a folder of task YAMLs")
        own = TaskManager(include_path=include_path, include_defaults=False)
        if all(_complete(own.task_index, name) for name in names):
            return own
    manager = TaskManager(include_path=include_path)
    for name in names:
        if name not in manager.task_index:
            near = get_close_matches(name, manager.all_tasks, n=1)
            tip = f"did you mean `{near[0]}`?" if near else "`lm_eval ls tasks` lists them"
            raise BezoarError(f"unknown task `{name}`", where=WHERE, tip=tip)
    return manager


def load(manager: TaskManager, names: Sequence[str], shots: Mapping[str, int]) -> list[Task | Group]:
    """Return what `names` stand for, groups whole, with `shots` examples where that names them."""
    for name in shots:
        if name not in names:
            raise BezoarError(f"`shots` is given for `{name}`", where=WHERE, tip=nearest(name, names))
    if not names:
        raise BezoarError("`tasks` is empty", where=WHERE, tip="name tasks of the harness or of `include_path`")
    found: list[Task | Group] = []
    for name in names:
        loaded = _load(manager, name)
        for task in leaves(loaded):
            for mark, does in _REFUSED.items():
                if getattr(task, mark, False):
                    raise BezoarError(f"task `{task.task_name}` {does}, which is not done here", where=WHERE)
            if name in shots:
                task.set_config(key="num_fewshot", value=shots[name])
        found += loaded
    for name, times in Counter(task.task_name for task in leaves(found)).items():
        if times > 1:
            raise BezoarError(f"task `{name}` is there twice", where=WHERE, tip="a group in `tasks` has it too")
    return found


def leaves(loaded: Iterable[Task | Group]) -> Iterator[Task]:
    """Yield the tasks, those in groups too."""
    from lm_eval.api.group import Group

    for one in loaded:
        if isinstance(one, Group):
            yield from one.get_all_tasks()
        else:
            yield one


def documents(task: Task, limit: int | None) -> Iterator[Item]:
    """Yield each document's question and right answer."""
    for number, document in task.doc_iterator(limit=limit):
        answer = task.doc_to_target(document)
        if task.OUTPUT_TYPE == "multiple_choice" and isinstance(answer, int):
            answer = task.doc_to_choice(document)[answer]
        fields = {"question": str(task.doc_to_text(document)), "answer": str(answer)}
        yield Item(id=f"{task.task_name}/{number}", fields=fields, category=str(task.task_name))


def _complete(index: Mapping[str, Entry], name: str) -> bool:
    """Say whether `name` and what it is a group of are in the index."""
    if name not in index:
        return False
    members = (index[name].cfg or {}).get("task")
    if not isinstance(members, list):
        return True
    named = [member.get("task") if isinstance(member, dict) else member for member in members]
    return all(_complete(index, member) for member in named if isinstance(member, str))


def _load(manager: TaskManager, name: str) -> list[Task | Group]:
    try:
        loaded = manager.load([name])
    except Exception as error:  # whatever reading a data set may raise
        message = f"task `{name}` cannot be loaded: {type(error).__name__}: {error}"
        tip = "its data may lie on the Hub, or need code that is not run here"
        raise BezoarError(message, where=WHERE, tip=tip) from error
    groups = loaded["groups"]
    return [groups[name]] if name in groups else list(loaded["tasks"].values())
