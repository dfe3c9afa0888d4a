"""The end of another process, by a handle that means that process alone: its number may be another's a moment after it has ended."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Collection


def ready(handles: Collection[int], seconds: float) -> set[int]:
    """Which of these can be read, or are at their end; waits for the first of them, at most so long.

    Not by select(2), which takes no number above 1023: a run with some 330 servers at once has more files open.
    """
    poll = select.poll()
    for handle in handles:
        poll.register(handle, select.POLLIN)
    return {handle for handle, _event in poll.poll(seconds * 1000)}


class Process:
    """A process that is watched. `ready` finds it once it has ended."""

    def __init__(self, number: int) -> None:
        """:raises ProcessLookupError: when there is none of that number."""
        if sys.platform == "linux":
            self._handle = os.pidfd_open(number)
        else:
            self._queue = select.kqueue()
            end = select.kevent(number, select.KQ_FILTER_PROC, select.KQ_EV_ADD, select.KQ_NOTE_EXIT)
            self._queue.control([end], 0)
            self._handle = self._queue.fileno()

    def fileno(self) -> int:
        return self._handle

    def ended(self) -> bool:
        return bool(ready([self._handle], 0))
