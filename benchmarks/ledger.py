"""How long does a ledger of a million replies take to open, to replay from and to add to? `make bench-ledger`.

Replies of about 1.2 KB in 40 segments, a tenth of them to requests that are then replayed through the engine. Every
figure comes from a process of its own; opening is timed without imports. Cold: the files' pages are dropped first.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import orjson
import results

from bezoar_core.engine import Engine, Target
from bezoar_core.engine.reply import to_record
from bezoar_core.in_order import in_order
from bezoar_core.ledger import Ledger
from bezoar_core.ledger.index import remove
from bezoar_core.records import Completion, Message, Sampling, Usage
from bezoar_core.types import Json, ModelRef
from bezoar_plugins.clients.openai import OpenAI

REPLIES = int(os.environ.get("REPLIES", "1000000"))
REPLAYED = REPLIES // 10
SEGMENTS = 40
PUTS = 100_000
COMMITS = 20_000
ROUNDS = 5
MODEL = ModelRef("teacher")
SAMPLING = Sampling(max_tokens=256, temperature=0.7)
TEXT = "A small team tests what it ships, in plain words and without a list. " * 5


def target() -> Target:
    client = OpenAI(model="teacher-40b", base_url="http://127.0.0.1:1/v1", api_key="none")
    return Target.of(name="teacher", client=client, identity=client.identity(), format=None, keys={})


def messages(number: int) -> list[Message]:
    return [Message("user", f"Task {number}: {TEXT[:120]}")]


def record(number: int) -> dict[str, Json]:
    text = f"Answer {number}: {TEXT}"
    raw: dict[str, Json] = {
        "id": f"chatcmpl-{number:029d}",
        "object": "chat.completion",
        "created": 1_700_000_000 + number,
        "model": "teacher-40b",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 41, "completion_tokens": 88, "total_tokens": 129},
    }
    reply = Completion(text=text, model="teacher-40b", usage=Usage(input_tokens=41, output_tokens=88), raw=raw)
    return to_record(reply, target="teacher", usd=0.001, estimated=False, at=1.7e9 + number, seconds=1.5)


def keys() -> Iterator[bytes]:
    """Yield the keys of the ledger: each tenth is a request of `replay`."""
    asked = target()
    for number in range(REPLIES):
        if number % 10:
            yield hashlib.sha256(b"%d" % number).digest()
        else:
            yield asked.key(asked.request(messages(number // 10), SAMPLING, (), "", None, (), 0))


def fill(folder: Path) -> Mapping[str, float]:
    began, found = time.perf_counter(), keys()
    for part in range(SEGMENTS):
        with Ledger(folder) as ledger:
            for number in range(part * REPLIES // SEGMENTS, (part + 1) * REPLIES // SEGMENTS):
                ledger.put(next(found), record(number))
    size = sum(path.stat().st_size for path in folder.glob("*.jsonl"))
    return {"seconds": time.perf_counter() - began, "count": REPLIES, "bytes_a_reply": size / REPLIES}


def reopen(folder: Path) -> Mapping[str, float]:
    last = hashlib.sha256(b"%d" % (REPLIES - 1)).digest()
    began = time.perf_counter()
    with Ledger(folder) as ledger:
        opened = time.perf_counter() - began
        assert ledger.get(last) is not None
        return {"seconds": opened, "with_first_reply": time.perf_counter() - began}


def reopen_cold(folder: Path) -> Mapping[str, float]:
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return reopen(folder)


def rebuild(folder: Path) -> Mapping[str, float]:
    remove(folder)
    return reopen(folder)


def replay(folder: Path) -> Mapping[str, float]:
    async def ask_all() -> Mapping[str, float]:
        with Ledger(folder) as ledger:
            engine = Engine(ledger=ledger, targets={"teacher": target()})

            async def one(number: int) -> int:
                return len((await engine(MODEL, messages(number), sampling=SAMPLING)).text)

            began, cpu = time.perf_counter(), time.process_time()
            done = sum([1 async for length in in_order(one, range(REPLAYED)) if length])
            seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
            assert done == engine.totals.replayed == REPLAYED
            return {"seconds": seconds, "cpu": cpu, "count": REPLAYED}

    return asyncio.run(ask_all())


def puts(folder: Path) -> Mapping[str, float]:
    given = [(hashlib.sha256(b"put %d" % number).digest(), record(number)) for number in range(PUTS)]
    began, cpu = time.perf_counter(), time.process_time()
    with Ledger(folder / "new") as ledger:
        for key, value in given:
            ledger.put(key, value)
    return {"seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu, "count": PUTS}


def sqlite_full(folder: Path) -> Mapping[str, float]:
    """Commit each reply on its own, as durable as SQLite can be."""
    given = [(hashlib.sha256(b"put %d" % number).digest(), record(number)) for number in range(COMMITS)]
    db = sqlite3.connect(folder / "replies.sqlite", isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("CREATE TABLE replies (key BLOB PRIMARY KEY, record BLOB NOT NULL)")
    began, cpu = time.perf_counter(), time.process_time()
    for key, value in given:
        db.execute("INSERT INTO replies VALUES (?, ?)", (key, orjson.dumps(value)))
    db.close()
    return {"seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu, "count": COMMITS}


def main() -> None:
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory(prefix="bezoar-bench-") as name:
        ledger = Path(name) / "ledger"
        rows.append(measure(fill, ledger, 0))
        for number in range(ROUNDS):
            rows += [measure(work, ledger, number) for work in (reopen, replay)]
            for work in (puts, sqlite_full):
                with tempfile.TemporaryDirectory(prefix="bezoar-bench-") as empty:
                    rows.append(measure(work, Path(empty), number))
        rows.append(measure(rebuild, ledger, 0))
        rows += [measure(reopen_cold, ledger, number) for number in range(ROUNDS)]
    ratios = {
        "reopen_seconds": median(rows, "reopen"),
        "reopen_cold_seconds": median(rows, "reopen_cold"),
        "reopen_without_index_seconds": median(rows, "rebuild"),
        "replayed_a_second": REPLAYED / median(rows, "replay"),
        "replayed_a_cpu_second": REPLAYED / median(rows, "replay", "cpu"),
        "puts_a_second": PUTS / median(rows, "puts"),
        "puts_over_sqlite_full": PUTS / median(rows, "puts") / (COMMITS / median(rows, "sqlite_full")),
    }
    for what, value in ratios.items():
        print(f"{what:<32}{value:>14,.4f}")
    print("\nwritten:", results.write("ledger", rows, ratios, ("bezoar", "orjson")).relative_to(Path.cwd()))


def measure(work: Callable[[Path], Mapping[str, float]], folder: Path, number: int) -> dict[str, object]:
    command = [sys.executable, __file__, work.__name__, str(folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return {"what": work.__name__, "round": number, **json.loads(done.stdout)}


def median(rows: list[dict[str, object]], what: str, of: str = "seconds") -> float:
    return statistics.median(float(str(row[of])) for row in rows if row["what"] == what)


if __name__ == "__main__":
    if sys.argv[1:]:
        print(json.dumps(globals()[sys.argv[1]](Path(sys.argv[2]))))
    else:
        main()
