"""Find SQLite databases below a directory, and copy one as it is at one moment, also while it is written.

It is run as the app's own user, from the text of this file: it imports nothing of Plainstack, and may do nothing that the app may not.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import stat
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from urllib.parse import quote

MAGIC = b"SQLite format 3\0"
PAGE = 512  # bytes: a database has whole pages, the smallest of which has as many
PATIENCE = 60  # seconds for another one that writes
ROOM = "/var/tmp"  # the copy is made in a directory of its own, and /tmp may be memory
BUSY, LOCKED = 5, 6  # of SQLite; Python has names for them since 3.11
NONE = 3  # exit status: it is no database after all, or gone


def find(top: str) -> Iterator[str]:
    """The databases, relative to the directory; no link is followed."""
    for directory, _folders, files in os.walk(top):
        for name in files:
            path = os.path.join(directory, name)
            with contextlib.suppress(OSError):
                status = os.lstat(path)
                if not stat.S_ISREG(status.st_mode) or not status.st_size or status.st_size % PAGE:
                    continue
                handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
                try:
                    if os.read(handle, len(MAGIC)) == MAGIC:
                        yield os.path.relpath(path, top)
                finally:
                    os.close(handle)


def copy(path: str) -> int:
    """Write the database to standard output; the exit status."""
    deadline = time.monotonic() + PATIENCE

    def watch(status: int, _remaining: int, _total: int) -> None:
        """Python itself would wait for ever."""
        if status in (BUSY, LOCKED) and time.monotonic() >= deadline:
            raise sqlite3.OperationalError(f"another program has locked it for {PATIENCE} s")

    with tempfile.TemporaryDirectory(dir=ROOM) as directory:
        target = os.path.join(directory, "copy")
        try:
            with (
                contextlib.closing(sqlite3.connect(f"file:{quote(os.fsencode(path))}?mode=rw", uri=True, timeout=PATIENCE)) as source,
                contextlib.closing(sqlite3.connect(target)) as found,
            ):
                source.backup(found, progress=watch)
        except sqlite3.OperationalError as error:
            if not os.path.exists(path):
                return NONE
            print(error, file=sys.stderr)
            return 1
        except sqlite3.DatabaseError:
            return NONE
        with open(target, "rb") as stream:
            shutil.copyfileobj(stream, sys.stdout.buffer)
    return 0


def main(words: Sequence[str]) -> int:
    """`find DIRECTORY`, or `copy FILE`."""
    if words[0] == "find":
        sys.stdout.buffer.write(b"".join(os.fsencode(path) + b"\0" for path in find(words[1])))
        return 0
    return copy(words[1])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
