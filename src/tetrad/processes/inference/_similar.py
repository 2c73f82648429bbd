"""The nearest of earlier questions: brute force over bounded partitions, in memory.

Nothing is kept on disk: an index that is lost costs misses, and questions are nobody's business after a stop.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

_FIRST_ROWS = 1


class _Partition:
    """A ring of vectors of length 1; the oldest makes room."""

    __slots__ = ("expires", "keys", "place", "rows")

    def __init__(self) -> None:
        self.rows: np.ndarray[Any, Any] | None = None
        self.keys: list[str] = []
        self.expires: list[float] = []
        self.place = 0

    @property
    def room(self) -> int:
        return 0 if self.rows is None else len(self.rows)


class SimilarIndex:
    """Vectors by partition; a search sees its own partition and no other.

    At most `most_rows` vectors a partition, and so many together; the partition that was not used for longest goes
    first.
    """

    def __init__(self, *, most_rows: int, most_together: int) -> None:
        self._most_rows = min(most_rows, most_together)
        self._most_together = most_together
        self._partitions: OrderedDict[str, _Partition] = OrderedDict()
        self._room = 0

    def __len__(self) -> int:
        return sum(len(partition.keys) for partition in self._partitions.values())

    @property
    def room(self) -> int:
        """Vectors for which there is memory; what the limit of all together counts."""
        return self._room

    def find(self, partition: str, vector: bytes, threshold: float, now_s: float) -> tuple[str, float] | None:
        """Return the key of the nearest living vector and its cosine, where that reaches the threshold."""
        import numpy as np

        found = self._partitions.get(partition)
        if found is None or found.rows is None:
            return None
        self._partitions.move_to_end(partition)
        given = np.frombuffer(vector, "<f4")
        if len(given) != found.rows.shape[1]:
            return None
        scores = found.rows[: len(found.keys)] @ given
        for place in np.argsort(-scores, kind="stable"):
            score = float(scores[place])
            if not score >= threshold:  # also what is no number
                return None
            if found.expires[place] > now_s:
                return found.keys[place], min(score, 1.0)
        return None

    def add(self, partition: str, vector: bytes, key: str, expires_s: float) -> None:
        """Remember a vector; one that is there already under the same key is replaced."""
        import numpy as np

        given = np.frombuffer(vector, "<f4")
        found = self._partitions.get(partition)
        if found is None or (found.rows is not None and found.rows.shape[1] != len(given)):
            self._drop(partition)
            found = self._partitions[partition] = _Partition()
        self._partitions.move_to_end(partition)
        if key in found.keys:
            place = found.keys.index(key)
        elif len(found.keys) < self._most_rows:
            place = len(found.keys)
            self._make_room(found, len(given))
            found.keys.append(key)
            found.expires.append(expires_s)
        else:
            place, found.place = found.place, (found.place + 1) % self._most_rows
        if found.rows is None:
            raise AssertionError("room was made")  # pragma: no cover
        found.rows[place] = given
        found.keys[place], found.expires[place] = key, expires_s
        while self._room > self._most_together:
            self._drop(next(iter(self._partitions)))

    def _make_room(self, found: _Partition, width: int) -> None:
        import numpy as np

        if len(found.keys) < found.room:
            return
        size = min(max(_FIRST_ROWS, 2 * found.room), self._most_rows)
        rows = np.zeros((size, width), "<f4")
        if found.rows is not None:
            rows[: len(found.rows)] = found.rows
        self._room += size - found.room
        found.rows = rows

    def _drop(self, partition: str) -> None:
        gone = self._partitions.pop(partition, None)
        if gone is not None:
            self._room -= gone.room
