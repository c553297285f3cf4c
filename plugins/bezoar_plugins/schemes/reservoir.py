"""An even sample of a stream of rows, of a size set beforehand, that lies on disk."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from random import Random
from typing import IO

import orjson

from bezoar_core.records import Row


class Reservoir:
    """At most `size` of the rows added, each with the same chance, in an order drawn by `dice`.

    Vitter's algorithm R (1985) with the rows as JSON in `file`, open to read and write: memory holds eight bytes a row
    of the sample. Rows drawn and displaced stay in the file: after n rows it holds about size * (1 + ln(n / size)).
    """

    def __init__(self, file: IO[bytes], size: int, dice: Random) -> None:
        self._file = file
        self._size = size
        self._dice = dice
        self._offsets = array("Q")
        self._added = 0
        self._end = 0

    def add(self, row: Row) -> None:
        """Add the stream's next row."""
        place = self._added if self._added < self._size else self._dice.randrange(self._added + 1)
        self._added += 1
        if place >= self._size:
            return
        if place == len(self._offsets):
            self._offsets.append(self._end)
        else:
            self._offsets[place] = self._end
        self._end += self._file.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))

    def __iter__(self) -> Iterator[Row]:
        """Yield the sample; nothing is added from here on."""
        self._dice.shuffle(self._offsets)
        for offset in self._offsets:
            self._file.seek(offset)
            yield orjson.loads(self._file.readline())
