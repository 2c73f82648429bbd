"""Tell those who watch which traces just arrived."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence

from tetrad.traces._rows import DAY_NS
from tetrad.traces._views import TraceSummary, Window
from tetrad.traces.errors import TooManyFollowers

log = logging.getLogger(__name__)
_WAITING_BATCHES = 256
_MOST_AT_ONCE = 200

Entry = tuple[str, str, int]
Summarise = Callable[[str, Sequence[str], Window], list[TraceSummary]]


class Follower:
    """One watcher's mailbox: bounded, so that a slow one loses the oldest items and never slows anybody down."""

    def __init__(self, project: str, wake: Callable[[], None], capacity: int) -> None:
        self.project = project
        self._wake = wake
        self._items: deque[TraceSummary] = deque()
        self._capacity = capacity
        self._missed = 0
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()

    def take(self) -> tuple[list[TraceSummary], int]:
        """Return what arrived since the last time, and how many items were lost because the mailbox was full."""
        with self._lock:
            items, missed = list(self._items), self._missed
            self._items.clear()
            self._missed = 0
        return items, missed

    def put(self, items: Sequence[TraceSummary], missed: int = 0) -> None:
        """Add items that were not there before, dropping the oldest past the capacity, and wake the watcher."""
        with self._lock:
            for item in items:
                if item.head.trace_id not in self._seen:
                    self._seen[item.head.trace_id] = None
                    self._items.append(item)
            while len(self._seen) > 4 * self._capacity:
                self._seen.popitem(last=False)
            self._missed += missed
            while len(self._items) > self._capacity:
                self._items.popleft()
                self._missed += 1
        self._wake()


class Feed:
    """Turns stored entries into summaries for the followers of their project, on a thread of its own."""

    def __init__(self, summarise: Summarise, *, most_followers: int = 64, capacity: int = 512) -> None:
        self._summarise = summarise
        self._most = most_followers
        self._capacity = capacity
        self._followers: set[Follower] = set()
        self._waiting: deque[list[Entry]] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to work; entries before this wait."""
        self._thread = threading.Thread(target=self._run, name="traces-feed", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread and wake every follower a last time."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
            followers = list(self._followers)
        if self._thread is not None:
            self._thread.join(10)
        for follower in followers:
            follower.put(())

    @property
    def stopping(self) -> bool:
        """Whether followers should leave."""
        return self._stopping

    def join(self, project: str, wake: Callable[[], None]) -> Follower:
        """Return a new mailbox; `wake` is called from another thread whenever something came."""
        follower = Follower(project, wake, self._capacity)
        with self._changed:
            if len(self._followers) >= self._most:
                raise TooManyFollowers(
                    f"{self._most} already follow the traces",
                    hint="close another console tab or `tetrad trace list --follow`",
                    retry_after_s=10,
                )
            self._followers.add(follower)
        return follower

    def leave(self, follower: Follower) -> None:
        """Give the mailbox back."""
        with self._changed:
            self._followers.discard(follower)

    def announce(self, entries: Sequence[Entry]) -> None:
        """Say that entries were stored; returns at once, and costs nothing where nobody follows their project."""
        with self._changed:
            followed = {follower.project for follower in self._followers}
            wanted = [entry for entry in entries if entry[0] in followed]
            if not wanted:
                return
            if len(self._waiting) >= _WAITING_BATCHES:
                lost = self._waiting.popleft()
                for follower in self._followers:
                    follower.put((), sum(entry[0] == follower.project for entry in lost))
            self._waiting.append(wanted)
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._stopping)
                if self._stopping:
                    return
                entries = self._waiting.popleft()
            self._deliver(entries)

    def _deliver(self, entries: Sequence[Entry]) -> None:
        for project in sorted({entry[0] for entry in entries}):
            mine = [entry for entry in entries if entry[0] == project]
            chosen, missed = mine[-_MOST_AT_ONCE:], max(0, len(mine) - _MOST_AT_ONCE)
            starts = [entry[2] for entry in chosen]
            window = Window(min(starts) - DAY_NS, max(starts) + 1)
            try:
                items = self._summarise(project, [entry[1] for entry in chosen], window)
            except Exception:
                log.exception("followers of %r miss %d traces", project, len(mine))
                items, missed = [], len(mine)
            with self._changed:
                followers = [follower for follower in self._followers if follower.project == project]
            for follower in followers:
                follower.put(items, missed)
