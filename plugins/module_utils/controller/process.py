"""The end of another process, by a handle that means that process alone: its number may be another's a moment after it has ended."""

from __future__ import annotations

import os
import select
import sys


class Process:
    """A process that is watched. `select` finds it readable once it has ended."""

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
        return bool(select.select([self._handle], [], [], 0)[0])
