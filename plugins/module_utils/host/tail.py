"""The end of a log file: read backwards, no more of it than is needed, and never through a link."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator

BLOCK = 2**16  # bytes that are read at once


def _open(path: str) -> int:
    """A descriptor of a regular file; -1 where there is none.

    :raises OSError: when it cannot be read.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return -1
    except OSError as error:
        if error.errno == errno.ELOOP:  # a link; logs are none
            return -1
        raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        return -1
    return handle


def backwards(path: str, most: int) -> Iterator[str]:
    """The lines of a file, the last one first.

    :param most: bytes of it that are read at most.
    """
    handle = _open(path)
    if handle < 0:
        return
    try:
        end = os.fstat(handle).st_size
        stop, rest = max(0, end - most), b""
        while end > stop:
            begin = max(stop, end - BLOCK)
            rest = os.pread(handle, end - begin, begin) + rest
            end = begin
            first, *lines = rest.split(b"\n")
            for line in reversed(lines):
                if line:
                    yield line.decode("utf-8", "replace")
            rest = first
        if rest and not stop:  # a line that begins before what is read is none
            yield rest.decode("utf-8", "replace")
    finally:
        os.close(handle)
